//! Owns connections to Redis: the address, TLS, the user and password, and what is wrong with them.

use super::openssl::{TlsClient, TlsError, TlsFiles, TlsStream};
use crate::config;
use redis::{Client, ConnectionAddr, ConnectionInfo, ConnectionLike, IntoConnectionInfo, Parser, RedisError};
use redis::{RedisConnectionInfo, RedisResult, Value};
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What sends commands to Redis.
pub(super) type Connection = Box<dyn ConnectionLike + Send>;

/// How to connect to Redis.
pub(super) enum Connector {
    /// Without TLS.
    Plain(Client),
    /// With TLS.
    Tls(ConnectionInfo, TlsFiles),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A connection without TLS was closed at once.
    #[error("Redis closes the connection ({0}); does this port expect TLS, `rediss://`?")]
    Closed(RedisError),
    /// A connection with TLS was closed after the handshake. Its reason is lost if a command was sent before it came.
    #[error("Redis closes the connection ({0}); does it require a client certificate, `redis.certificate_file`?")]
    Certificate(RedisError),
    /// Redis is not reachable, or refuses commands.
    #[error("{}", describe(.0))]
    Redis(#[from] RedisError),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Redis(error.into())
    }
}

/// What is wrong, without a secret: Redis' own text, or the part of the configuration that it does not accept.
pub(super) fn describe(error: &RedisError) -> String {
    match error.code() {
        Some("WRONGPASS") => "the user or the password in `redis.url` is wrong".into(),
        Some("NOAUTH") => "Redis requires a password in `redis.url`".into(),
        _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
            "the user or the password in `redis.url` is wrong".into()
        }
        _ => error.to_string(),
    }
}

impl Connector {
    /// Reads the address and the files of TLS. Redis need not be reachable.
    pub(super) fn new(settings: &config::Redis) -> Result<Self, ConnectError> {
        let Some(rest) = settings.url.strip_prefix("rediss://") else {
            return Ok(Self::Plain(Client::open(settings.url.as_str())?));
        };
        let info = format!("redis://{rest}").into_connection_info()?;
        let files = TlsFiles { ca: settings.ca_file.clone(), client: settings.client_files.clone() };
        TlsClient::new(&files)?;
        Ok(Self::Tls(info, files))
    }

    /// Connects and sends the first command. A response may take as long as `timeout`.
    pub(super) fn connect(&self, timeout: Duration) -> Result<Connection, ConnectError> {
        let mut connection: Connection = match self {
            Self::Plain(client) => {
                let connection = client.get_connection_with_timeout(timeout).map_err(closed)?;
                connection.set_read_timeout(Some(timeout))?;
                connection.set_write_timeout(Some(timeout))?;
                Box::new(connection)
            }
            // The files are read again: certificates are renewed while the process runs.
            Self::Tls(info, files) => Box::new(TlsConnection::new(info, &TlsClient::new(files)?, timeout)?),
        };
        // Without a command a missing password has no effect.
        redis::cmd("PING").exec(connection.as_mut())?;
        Ok(connection)
    }
}

/// What the failure of a connection without TLS means.
fn closed(error: RedisError) -> ConnectError {
    match error.kind() {
        redis::ErrorKind::Parse => ConnectError::Closed(error),
        _ if error.is_connection_dropped() => ConnectError::Closed(error),
        _ => ConnectError::Redis(error),
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the host name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Commands and replies on a TLS connection.
struct TlsConnection {
    stream: TlsStream,
    parser: Parser,
    database: i64,
    open: bool,
}

impl TlsConnection {
    fn new(info: &ConnectionInfo, client: &TlsClient, timeout: Duration) -> Result<Self, ConnectError> {
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        };
        let stream = client.connect(connect_tcp(host, *port, timeout)?, host)?;
        let settings = info.redis_settings();
        let mut connection = Self { stream, parser: Parser::new(), database: settings.db(), open: true };
        // With TLS 1.3 a missing client certificate is refused only after the handshake.
        connection.introduce(settings).map_err(|error| match error.is_connection_dropped() {
            true => ConnectError::Certificate(error),
            false => ConnectError::Redis(error),
        })?;
        Ok(connection)
    }

    fn introduce(&mut self, settings: &RedisConnectionInfo) -> RedisResult<()> {
        if let Some(password) = settings.password() {
            redis::cmd("AUTH").arg(settings.username()).arg(password).exec(self)?;
        }
        if settings.db() != 0 {
            redis::cmd("SELECT").arg(settings.db()).exec(self)?;
        }
        redis::cmd("PING").exec(self)
    }

    fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        let sent = self.stream.write_all(commands);
        self.open &= sent.is_ok();
        Ok(sent?)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        let value = self.parser.parse_value(&mut self.stream);
        self.open &= value.is_ok();
        value
    }
}

impl ConnectionLike for TlsConnection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.send(command)?;
        self.receive()
    }

    fn req_packed_commands(&mut self, commands: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        self.send(commands)?;
        let (mut values, mut refused) = (Vec::with_capacity(count), Ok(()));
        for index in 0..offset + count {
            let value = self.receive()?;
            if index >= offset {
                values.push(value);
            } else if refused.is_ok() {
                // A command of a transaction that is not queued aborts it.
                refused = value.extract_error().map(drop);
            }
        }
        refused.map(|()| values)
    }

    fn get_db(&self) -> i64 {
        self.database
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.open
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
            stream.write_all(b"-ERR unknown command\r\n").expect("sent");
            stream
        });
        let connector = connector(&format!("{{url: 'rediss://127.0.0.1:{port}'}}")).expect("valid settings");
        let error = connector.connect(Duration::from_secs(10)).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains("without TLS?")), "{error:?}");
        drop(server.join());
    }
}
