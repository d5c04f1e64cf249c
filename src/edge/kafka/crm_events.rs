//! Owns the writing of CRM events on behalf of users, as JSON with a `content-type` header whatever the encoding of the topic is.

use super::acknowledged::AcknowledgedProducer;
use super::client::CallError;
use crate::config::Config;
use crate::domain::id::TenantId;
use crate::domain::source::{Source, Topic};
use crate::edge::kafka::source_topics::SourceTopics;
use rdkafka::message::{Header, OwnedHeaders};

/// Writes CRM events. Clones write through the same client.
#[derive(Clone)]
pub struct CrmEvents {
    producer: AcknowledgedProducer,
    topic: String,
}

impl CrmEvents {
    /// Creates the producer; waits for no broker.
    pub fn start(config: &Config) -> Result<Self, CallError> {
        let topic = SourceTopics::of(&config.topics).name(Source::Topic(Topic::Crm)).to_owned();
        Ok(Self { producer: AcknowledgedProducer::start(config)?, topic })
    }

    /// Writes an event of a tenant, given as JSON. Returns whether all in-sync replicas have it.
    pub async fn write(&self, tenant: &TenantId, event: &[u8]) -> bool {
        let headers = OwnedHeaders::new().insert(Header { key: "content-type", value: Some("application/json") });
        match self.producer.send_with(&self.topic, None, tenant.as_str().as_bytes(), event, Some(headers)) {
            Some(answer) => answer.await.unwrap_or(false),
            None => false,
        }
    }
}
