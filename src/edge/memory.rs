//! Owns what this process may take of memory: the limit of its control group, or else the memory of the machine, and the shares
//! of what is only in passing.
//!
//! State takes what it takes. What is read ahead, in flight, being restored and waiting to be sent is bounded, and the bounds
//! shrink with the limit. Above [`TIGHT`] of the limit the process reads less at a time, because a process that exceeds it is
//! killed without a word.
//!
//! Files: `man 7 cgroups`, <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>,
//! <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>. In a container the root of its control group is mounted, and
//! `/proc/self/cgroup` may name a path of the host.

use std::fs;
use std::path::Path;

/// The share of the limit, in percent, from which on the process saves memory.
const TIGHT: u64 = 80;
/// Limits beyond this one are none: version 1 has no word for it.
const UNLIMITED: u64 = 1 << 60;

/// The memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    limit: Option<u64>,
}

impl MemoryBudget {
    /// Reads the limit.
    pub fn detect() -> Self {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let machine = || read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
        Self { limit: limit(&groups, &read).or_else(machine) }
    }

    /// The limit, in bytes; `None`: it cannot be read.
    pub fn limit(self) -> Option<u64> {
        self.limit
    }

    /// A part of the limit, but at most `most` bytes.
    pub(crate) fn part(self, divisor: u64, most: usize) -> usize {
        self.limit.map_or(most, |limit| usize::try_from(limit / divisor).map_or(most, |part| part.min(most)))
    }

    /// Whether this number of bytes is so near the limit that memory must be saved.
    pub(crate) fn is_tight(self, resident: u64) -> bool {
        self.limit.is_some_and(|limit| resident > limit - limit / 100 * (100 - TIGHT))
    }
}

/// The memory of the machine, in bytes. `meminfo` is the content of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least limit of a control group and the groups that it belongs to. `groups` is the content of `/proc/self/cgroup`.
fn limit(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let (mut root, mut file, mut path) = ("/sys/fs/cgroup", "memory.max", "/");
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        if controllers.split(',').any(|controller| controller == "memory") {
            (root, file, path) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group);
            break;
        }
        if controllers.is_empty() {
            path = group;
        }
    }
    let group = Path::new(root).join(path.trim_start_matches('/'));
    let levels = group.ancestors().take_while(|level| level.starts_with(root));
    let bytes = |level: &Path| read(&level.join(file))?.trim().parse().ok();
    levels.filter_map(bytes).filter(|bytes| *bytes < UNLIMITED).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn limit_of(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let files: BTreeMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        limit(groups, &|path| files.get(path).map(ToString::to_string))
    }

    #[test]
    fn the_limit_of_either_version_is_found() {
        let container = ("/sys/fs/cgroup/memory.max", "536870912\n");
        assert_eq!(limit_of("0::/\n", &[container]), Some(512 << 20));
        assert_eq!(limit_of("0::/kubepods/pod1/box\n", &[container]), Some(512 << 20), "a path of the host");
        assert_eq!(limit_of("0::/\n", &[("/sys/fs/cgroup/memory.max", "max\n")]), None);
        let first = "12:cpu,cpuacct:/a\n4:memory:/kubepods/pod1\n0::/x\n";
        let mounted = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(limit_of(first, &[mounted]), Some(1 << 30));
        assert_eq!(limit_of(first, &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]), None);
        assert_eq!(limit_of("", &[]), None);
        assert_eq!(limit_of("garbage\n1:\n", &[("/sys/fs/cgroup/memory.max", "garbage")]), None);
    }

    #[test]
    fn without_a_limit_the_memory_of_the_machine_counts() {
        assert_eq!(total("MemTotal:       24612345 kB\nMemFree:        1 kB\n"), Some(24_612_345 * 1024));
        assert_eq!(total("MemTotal: many kB\n"), None);
        assert_eq!(total(""), None);
        assert!(MemoryBudget::detect().limit() > Some(1 << 20));
    }

    #[test]
    fn the_least_limit_of_all_levels_counts() {
        let files = [
            ("/sys/fs/cgroup/pods/memory.max", "300\n"),
            ("/sys/fs/cgroup/pods/box/memory.max", "500\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
        ];
        assert_eq!(limit_of("0::/pods/box\n", &files), Some(300));
    }

    #[test]
    fn bounds_shrink_with_the_limit_and_never_grow() {
        let small = MemoryBudget { limit: Some(160) };
        assert_eq!((small.part(16, 100), small.part(1, 100)), (10, 100));
        assert_eq!(MemoryBudget { limit: None }.part(16, 100), 100);
        assert!(!small.is_tight(128) && !MemoryBudget { limit: None }.is_tight(u64::MAX));
        assert!(MemoryBudget { limit: Some(200) }.is_tight(161));
    }
}
