//! Owns the assignment of tenants to shards: the partition that the default partitioner of the Java clients computes for
//! the tenant id. Promises never to change, because existing data in Kafka are partitioned by it.

use crate::domain::source::ShardId;

/// 32-bit MurmurHash2 with the seed of Kafka's Java client.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(MULTIPLIER);
        (word ^ (word >> 24)).wrapping_mul(MULTIPLIER)
    };
    let (words, rest) = bytes.as_chunks::<4>();
    // Array lengths in Java, and so lengths of Kafka keys, have 32 bits.
    let start = SEED ^ bytes.len() as u32;
    let mut hash =
        words.iter().fold(start, |hash, word| hash.wrapping_mul(MULTIPLIER) ^ mix(u32::from_le_bytes(*word)));
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The shard of a tenant, 0 to `shards` − 1; `shards` is the partition count, at least 1.
pub fn shard(tenant: &str, shards: u32) -> ShardId {
    // The Java client clears the sign bit; it does not take the absolute value.
    ShardId((murmur2(tenant.as_bytes()) & 0x7fff_ffff) % shards.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the tests of Kafka's Java client, librdkafka and Akka.
    #[test]
    fn the_hash_equals_that_of_the_java_client() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
            ("1", -1_993_445_489),
            ("12", 126_087_238),
            ("123", -267_702_483),
            ("1234", -1_614_185_708),
            ("12345", -1_188_365_604),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
        assert_eq!(murmur2(&[12, 42, 56, 24, 109, 111]), 274_204_207);
    }

    #[test]
    fn a_shard_is_the_positive_hash_modulo_the_partition_count() {
        for (tenant, positive) in [
            ("21", 1_173_551_340),
            ("foobar", 1_357_151_166),
            ("a-little-bit-long-string", 1_161_502_112),
            ("a-little-bit-longer-string", 661_178_819),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 2_088_585_677),
            ("abc", 479_470_107),
        ] {
            for shards in [1, 2, 3, 12, 64, 1 << 31] {
                assert_eq!(shard(tenant, shards), ShardId(positive % shards), "{tenant} of {shards}");
            }
        }
        assert_eq!(shard("foobar", 0), ShardId(0));
    }
}
