//! Owns connections to Redis: the address, TLS, the user and password, and what is wrong with them.

use crate::config;
use redis::{Client, ClientTlsConfig, Connection, ErrorKind, IntoConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to connect to Redis.
pub(super) struct Connector {
    url: String,
    ca: Option<PathBuf>,
    /// The certificate of this client and its key.
    client: Option<(PathBuf, PathBuf)>,
}

/// Why there is no connection. No text contains a name, an address or a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// A file cannot be used: the key of the configuration, and the reason.
    #[error("redis.{0}: {1}")]
    File(&'static str, String),
    /// The certificate of Redis is signed by another CA.
    #[error(
        "the certificate of Redis is not trusted: its CA is not among those in `redis.ca_file` (without that key, those \
         of the system)"
    )]
    Issuer,
    /// The certificate of Redis is that of another host.
    #[error("the certificate of Redis is not trusted: it was issued for another host name than the one in `redis.url`")]
    HostName,
    /// Redis verifies its clients.
    #[error("Redis refuses the TLS connection; does it require a client certificate, `redis.certificate_file`?")]
    ClientCertificate,
    /// What came back is not TLS, or nothing came: Redis without TLS waits for the end of what it takes for a command.
    #[error("no response to the TLS handshake; does this port of Redis expect connections without TLS?")]
    NoTls,
    /// A connection without TLS was closed at once.
    #[error("Redis closes the connection ({0}); does this port expect TLS, `rediss://`?")]
    Closed(RedisError),
    /// Redis is not reachable, or refuses commands.
    #[error("{}", describe(.0))]
    Redis(#[from] RedisError),
}

/// What is wrong, without a secret: Redis' own text, or the part of the configuration that it does not accept.
pub(super) fn describe(error: &RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => "the user or the password in `redis.url` is wrong".into(),
        Some("NOAUTH") => "Redis requires a password in `redis.url`".into(),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            "the user or the password in `redis.url` is wrong".into()
        }
        _ => error.to_string(),
    }
}

impl Connector {
    /// Checks the address and the files of TLS. Redis need not be reachable.
    pub(super) fn new(settings: &config::Redis) -> Result<Self, ConnectError> {
        let config::Redis { url, ca_file: ca, client_files: client, .. } = settings.clone();
        let connector = Self { url, ca, client };
        connector.client()?;
        Ok(connector)
    }

    /// Connects and sends the first command. A response may take as long as `timeout`.
    pub(super) fn connect(&self, timeout: Duration) -> Result<Connection, ConnectError> {
        let connect = || {
            let mut connection = self.client()?.get_connection_with_timeout(timeout)?;
            connection.set_read_timeout(Some(timeout))?;
            connection.set_write_timeout(Some(timeout))?;
            // Without a command a missing password has no effect.
            redis::cmd("PING").exec(&mut connection)?;
            Ok(connection)
        };
        connect().map_err(|error| match error {
            ConnectError::Redis(error) => self.explain(error),
            error => error,
        })
    }

    fn is_tls(&self) -> bool {
        self.url.starts_with("rediss://")
    }

    /// Reads the files at each connection: certificates are renewed while the process runs.
    fn client(&self) -> Result<Client, ConnectError> {
        let info = self.url.as_str().into_connection_info()?;
        if !self.is_tls() {
            return Ok(Client::open(info)?);
        }
        let certificates = |key, path: &Path| {
            read(key, path, |bytes| Ok(CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>()?.len()))
        };
        let root_cert = self.ca.as_deref().map(|path| certificates("ca_file", path)).transpose()?;
        let client_tls = match &self.client {
            None => None,
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: certificates("certificate_file", certificate)?,
                client_key: read("key_file", key, |bytes| PrivateKeyDer::from_pem_slice(bytes).map(|_| 1))?,
            }),
        };
        Ok(Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })?)
    }

    /// What the failure of a connection means. The library passes errors of TLS on as text.
    fn explain(&self, error: RedisError) -> ConnectError {
        let text = error.to_string();
        let is = |expected: rustls::Error| text.contains(&expected.to_string());
        let refuses = |alert| is(rustls::Error::AlertReceived(alert));
        if !self.is_tls() {
            let closed = error.kind() == ErrorKind::Parse || error.is_connection_dropped();
            return if closed { ConnectError::Closed(error) } else { ConnectError::Redis(error) };
        }
        // Another CA of the same name shows as a wrong signature.
        if is(CertificateError::UnknownIssuer.into()) || is(CertificateError::BadSignature.into()) {
            ConnectError::Issuer
        } else if text.contains("not valid for name") {
            ConnectError::HostName
        } else if refuses(AlertDescription::CertificateRequired) || refuses(AlertDescription::HandshakeFailure) {
            ConnectError::ClientCertificate
        } else if is(InvalidMessage::InvalidContentType.into()) || error.is_timeout() {
            ConnectError::NoTls
        } else {
            ConnectError::Redis(error)
        }
    }
}

/// Reads a PEM file in which `count` must find something.
fn read(
    key: &'static str,
    path: &Path,
    count: impl Fn(&[u8]) -> Result<usize, rustls::pki_types::pem::Error>,
) -> Result<Vec<u8>, ConnectError> {
    let bytes = fs::read(path).map_err(|error| ConnectError::File(key, error.to_string()))?;
    match count(&bytes) {
        Ok(0) => Err(ConnectError::File(key, "not usable: there is no certificate in it".into())),
        Err(error) => Err(ConnectError::File(key, format!("not usable: {error}"))),
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn connector(redis: &str) -> Result<Connector, String> {
        let config = Config::parse("funnelwatch.yaml", &format!("redis: {redis}")).expect("a valid configuration");
        Connector::new(&config.redis.expect("a Redis")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unusable_setting_is_named_without_secrets() {
        assert!(connector("{url: 'redis://:s3cret@redis/1'}").is_ok());
        assert!(connector("{url: 'rediss://:s3cret@redis/1'}").is_ok());
        for (redis, expected) in [
            ("{url: 'rediss://r', ca_file: /nowhere/ca.pem}", "redis.ca_file: No such file"),
            ("{url: 'rediss://r', ca_file: Cargo.toml}", "redis.ca_file: not usable: "),
            ("{url: 'rediss://r', certificate_file: Cargo.toml, key_file: k}", "redis.certificate_file: not usable: "),
            ("{url: 'rediss://u:s3cret@r/x'}", "Invalid database number"),
        ] {
            let error = connector(redis).err().unwrap_or_default();
            assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_redis_that_does_not_speak_tls_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            std::io::Write::write_all(&mut stream, b"-ERR unknown command\r\n").expect("sent");
            stream
        });
        let connector = connector(&format!("{{url: 'rediss://127.0.0.1:{port}'}}")).expect("valid settings");
        let error = connector.connect(Duration::from_secs(10)).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains("without TLS?")), "{error:?}");
        drop(server.join());
    }
}
