//! The configuration, read from one YAML file; the norms are part of it or in a separate file.
//!
//! Every key is declared once (in `keys`, `params`, `targets`, `sections` and `topics`); reading, defaults, `docs/configuration.md`
//! and the JSON Schema all derive from that declaration, through the engine in `schema`. Units are part of the value. All
//! problems are reported at once, with their lines, and related limits are checked against each other. Rejects unknown
//! keys and Kafka properties that would break a guarantee.
//!
//! **Secrets** in the kafka section, `api.token` and those of users, `members.token`, `redis.url` and `privacy_key` may come from the environment
//! (`${NAME}`) or from files (`{file: PATH}`). They are never shown, not even by `Debug`.

mod calendars;
mod check;
mod describe;
#[cfg(feature = "fault_injection")]
pub(crate) mod fault_injection;
pub mod gateway;
pub mod keys;
mod librdkafka;
mod limits;
mod load;
mod norms;
pub mod notify;
pub mod params;
mod properties;
mod reload;
#[cfg(test)]
mod samples;
pub mod schema;
mod sections;
mod targets;
mod topics;
mod unshared;
mod users;
mod worktime;

pub use describe::describe;
pub use limits::{AtMost, BOUNDS, Bound, Limits};
pub use load::{CONFIG, Config};
pub use norms::{Document, load_norms, parse_norms, restore_norms};
pub use properties::{LEAST_RECORD_BYTES, Properties, REJECTED};
pub use reload::{ReloadOutcome, Reloaded, Watched};
pub use schema::env::Env;
pub use schema::problem::{Problem, Problems};
pub use sections::{Api, Engine, HttpServer, Kafka, LostLog, Members, Page, Redis, Time};
pub use topics::{SourceTopic, TopicRole, Topics};
pub use unshared::{EventNames, Unshared};
pub use users::{ApiUser, Role};
