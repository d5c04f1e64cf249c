//! Tests the connection from the gateway to a portal on real sockets: certificates of a private authority, and portals that
//! redirect, never end, answer with gigabytes or with something else. Nothing of that costs much, and the secret stays here.

use flate2::Compression;
use flate2::write::GzEncoder;
use funnelwatch::domain::time::{Span, Timestamp};
use funnelwatch::gateway::bitrix24::{Bitrix24, Budget, Fields, Http, Settings, Transport, Webhook};
use funnelwatch::gateway::source::{Clock, Cursors, ReadError, Reader, Stop, Watch};
use funnelwatch::sim::portal::{Interface, Tables};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECRET: &str = "s3cretcode0123456789";

// Made with openssl for these tests alone: an authority, a certificate of it for `localhost` with its key, and an authority
// that has signed nothing. Valid until 2126.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBsTCCAVegAwIBAgIUbWuJ0RUmvv+e2mFviwSv0OEqT6EwCgYIKoZIzj0EAwIw
JTEjMCEGA1UEAwwaZnVubmVsd2F0Y2ggdGVzdCBhdXRob3JpdHkwIBcNMjYxMTMw
MTcxMzUwWhgPMjEyNjExMDYxNzEzNTBaMCUxIzAhBgNVBAMMGmZ1bm5lbHdhdGNo
IHRlc3QgYXV0aG9yaXR5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1igDGfy5
TuIGX4Fkqy2TOZThTL6U53tI10xW9RXGznU/gfeMrJ+bk4hR7qNXPW4bTvvX56pP
1rV3YP+W3/A5HKNjMGEwHQYDVR0OBBYEFFWYuy9ekGNxbBtzkGeBlgnYfj6RMB8G
A1UdIwQYMBaAFFWYuy9ekGNxbBtzkGeBlgnYfj6RMA8GA1UdEwEB/wQFMAMBAf8w
DgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49BAMCA0gAMEUCIFzjGCqVEgXeTnZTyiyP
BIge4TSjjB1xjqPkrf3aQ6ZrAiEAimCZQsrlBBseCtmFVJTu8gnpMSdby/oTcnxa
6/BXxr8=
-----END CERTIFICATE-----
";
const OTHER_AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBmTCCAT+gAwIBAgIUVJ8YnYNv1pMhpisEtwgNN26kBeIwCgYIKoZIzj0EAwIw
ITEfMB0GA1UEAwwWYW5vdGhlciB0ZXN0IGF1dGhvcml0eTAgFw0yNjExMzAxNzEz
NTBaGA8yMTI2MTEwNjE3MTM1MFowITEfMB0GA1UEAwwWYW5vdGhlciB0ZXN0IGF1
dGhvcml0eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEnt+PQNBAJ9teLKuKjq
DpWzsmxXoph/qWOtoQOppmFh+greXbTf2cKUKmGZm4PA1Zq6OkZTN5QpxNh7k3iu
mVOjUzBRMB0GA1UdDgQWBBSDo+f5F4EC/FqaOIDJjnD2FXJSZjAfBgNVHSMEGDAW
gBSDo+f5F4EC/FqaOIDJjnD2FXJSZjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49
BAMCA0gAMEUCIFHa+snpq4fwua+VdtK96YEy7FVdEuBGL9OV7aj+i8LjAiEAg4Tl
so7k15ldDF+9iAzMTIxbkalOsWEl0t370Gcrt54=
-----END CERTIFICATE-----
";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBtTCCAVugAwIBAgIUWJ8gxSuG1z4gPON79x55KWlpdx4wCgYIKoZIzj0EAwIw
JTEjMCEGA1UEAwwaZnVubmVsd2F0Y2ggdGVzdCBhdXRob3JpdHkwIBcNMjYxMTMw
MTcxMzUwWhgPMjEyNjExMDYxNzEzNTBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZ
MBMGByqGSM49AgEGCCqGSM49AwEHA0IABEVgJAYp10w+RjNM69j79+t+zwkCcpZM
r2hs6fP9gCvsg8hVBWV1BZXtyRk2dWkS8wuN8Pe18Zv6nPtrI6xbwb2jeDB2MBQG
A1UdEQQNMAuCCWxvY2FsaG9zdDAJBgNVHRMEAjAAMBMGA1UdJQQMMAoGCCsGAQUF
BwMBMB0GA1UdDgQWBBR+rUUQ14XkN/j7YIp8REu3CVDlIzAfBgNVHSMEGDAWgBRV
mLsvXpBjcWwbc5BngZYJ2H4+kTAKBggqhkjOPQQDAgNIADBFAiA51dldKtDmqfMg
Y2h5qp/enfUYFpzPRLVGc34qw+4TPwIhAP/S5hi4CXJL3nVYh76aLIsbQEf1MgFp
13RjPg+g6xBT
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgh2i4pJ0jl6ajio1g
M20vMsVOnxmWqNYJ8pLh2bD4u76hRANCAARFYCQGKddMPkYzTOvY+/frfs8JAnKW
TK9obOnz/YAr7IPIVQVldQWV7ckZNnVpEvMLjfD3tfGb+pz7ayOsW8G9
-----END PRIVATE KEY-----
";

/// Listens until the test process ends; `serve` is given each connection.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads a request; the method that it calls and its body.
fn request(stream: &mut impl Read) -> Option<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((path.rsplit('/').next()?.to_owned(), String::from_utf8(body).ok()?))
}

/// Answers each request of a connection with these bytes.
fn answers(response: String) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        while request(&mut stream).is_some() && stream.write_all(response.as_bytes()).is_ok() {}
    }
}

fn webhook(scheme: &str, host: &str, address: SocketAddr) -> Webhook {
    let url = format!("{scheme}://{host}:{}/rest/1/{SECRET}/", address.port());
    Webhook::parse(&url).expect("a webhook")
}

fn settings(webhook: Webhook) -> Settings {
    Settings {
        name: "romashka".into(),
        tenant: "romashka".into(),
        time_zone: jiff::tz::TimeZone::UTC,
        webhook,
        ca: None,
        sweep: Span(60_000),
        backfill_from: None,
        budget: Budget::default(),
        lead_pipeline: "leads".into(),
        deal_pipelines: BTreeMap::new(),
        fields: Fields::default(),
        grade: None,
    }
}

/// A clock that does not wait, and a count of answers by their kind.
#[derive(Default)]
struct Observed {
    waited: AtomicU64,
    answers: Mutex<BTreeMap<&'static str, u64>>,
}

impl Clock for Observed {
    fn now(&self) -> Timestamp {
        Timestamp(1_772_434_800_000 + self.waited.load(Ordering::Relaxed) as i64)
    }

    fn wait(&self, time: Duration, _: &Stop) {
        self.waited.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Watch for Observed {
    fn request(&self, _: &'static str, answer: &'static str) {
        *self.answers.lock().expect("no panic").entry(answer).or_default() += 1;
    }
}

/// What a reader says about a portal, and how often it was answered in which way.
fn read(address: SocketAddr, time: Duration) -> (ReadError, BTreeMap<&'static str, u64>) {
    let observed = Arc::new(Observed::default());
    let transport = Box::new(Http::within(None, time).expect("a connection"));
    let settings = settings(webhook("http", "127.0.0.1", address));
    let (clock, watch) = (Arc::clone(&observed) as Arc<dyn Clock>, Arc::clone(&observed) as Arc<dyn Watch>);
    let mut reader = Bitrix24::new(settings, &Cursors::new(), transport, clock, watch).expect("a reader");
    let error = reader.step(&[], &Stop::default()).expect_err("no portal");
    assert!(!error.to_string().contains(SECRET), "{error}");
    let answers = observed.answers.lock().expect("no panic").clone();
    (error, answers)
}

const PATIENT: Duration = Duration::from_secs(60);

#[test]
fn a_portal_that_never_ends_or_answers_with_gigabytes_costs_little() {
    let sent = Arc::new(AtomicU64::new(0));
    let pour = |head: &'static str, chunk: Vec<u8>| {
        let sent = Arc::clone(&sent);
        listen(move |mut stream| {
            let _ = request(&mut stream);
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&chunk).is_ok() {
                sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        })
    };
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"result\":\"";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes();
    for (head, chunk) in [(length, vec![b'x'; 0x10000]), (chunked, chunk), (endless, vec![b'x'; 0x10000])] {
        sent.store(0, Ordering::Relaxed);
        let (error, answers) = read(pour(head, chunk), PATIENT);
        assert!(matches!(error, ReadError::Unavailable { .. }) && error.to_string().contains("too_large"), "{error}");
        assert_eq!(answers, BTreeMap::from([("too_large", 4)]), "each attempt is counted");
        // 32 MiB for each attempt, and what waits in sockets.
        assert!(sent.load(Ordering::Relaxed) < 4 * (48 << 20), "{sent:?} bytes were taken");
    }
    // Compressed: few bytes that become more than the limit.
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    (0..40).for_each(|_| packed.write_all(&vec![b'x'; 1 << 20]).expect("memory"));
    let packed = packed.finish().expect("memory");
    let bomb = listen(move |mut stream| {
        let _ = request(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", packed.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&packed));
    });
    let (error, answers) = read(bomb, PATIENT);
    assert!(error.to_string().contains("too_large") && answers == BTreeMap::from([("too_large", 4)]), "{error}");
    // Headers without an end.
    let headers = pour("HTTP/1.1 200 OK\r\n", b"x-more: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".to_vec());
    sent.store(0, Ordering::Relaxed);
    let (error, _) = read(headers, PATIENT);
    assert!(matches!(error, ReadError::Unavailable { .. }) && sent.load(Ordering::Relaxed) < 64 << 20, "{error}");
}

#[test]
fn a_portal_that_is_silent_or_slow_is_left_in_time() {
    let silent = listen(|mut stream| {
        let _ = request(&mut stream);
        std::thread::park();
    });
    let slow = listen(|mut stream| {
        let _ = request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for address in [silent, slow] {
        let (error, answers) = read(address, Duration::from_millis(300));
        assert!(matches!(error, ReadError::Unavailable { .. }), "{error}");
        assert_eq!(answers, BTreeMap::from([("timeout", 4)]), "{error}");
    }
}

#[test]
fn what_is_no_answer_of_a_portal_is_no_answer() {
    let json = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let bomb = format!("{{\"result\":[{}0]}}", "0,".repeat(2_000_001));
    let table = [
        ("protocol", "\0\u{1}\u{2}SSH-2.0-x\r\n\r\n".to_owned()),
        ("not_json", json("200 OK", "<html>overload</html>")),
        ("not_json", json("502 Bad Gateway", "<html>overload</html>")),
        ("not_json", json("200 OK", &"[".repeat(100_000))),
        ("not_json", json("200 OK", "")),
        ("too_large", json("200 OK", &bomb)),
        ("no_result", json("200 OK", "{\"resu\":1}")),
        ("http_error", json("500 Oops", "{}")),
        ("cut_off", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{".to_owned()),
    ];
    for (expected, response) in table {
        // The connection ends after an answer.
        let address = listen(move |mut stream| {
            let _ = request(&mut stream);
            let _ = stream.write_all(response.as_bytes());
        });
        let (error, answers) = read(address, PATIENT);
        assert!(matches!(error, ReadError::Unavailable { .. }), "{expected}: {error}");
        let kinds: Vec<_> = answers.keys().copied().collect();
        let is_cut_off = expected == "cut_off" && kinds.iter().all(|kind| ["no_connection", "protocol"].contains(kind));
        assert!(kinds == [expected] || is_cut_off, "{expected}: {answers:?}");
    }
}

#[test]
fn the_secret_follows_no_redirect_to_another_host() {
    let connections = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&connections);
    let thief = listen(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let places = [
            format!("http://{thief}/rest/1/{SECRET}/batch"),
            format!("http://localhost:{}/rest/1/{SECRET}/batch", thief.port()),
            format!("//{thief}/x"),
            "https://evil.example.com/".to_owned(),
            "/login".to_owned(),
            String::new(),
        ];
        for place in places {
            let response = format!("HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
            let (error, answers) = read(listen(answers(response)), PATIENT);
            assert!(matches!(error, ReadError::Refused { .. }), "{status} {place}: {error}");
            assert_eq!(answers, BTreeMap::from([("redirect_refused", 1)]), "{status} {place}");
        }
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0, "somebody else was asked");
    // A portal that redirects to itself again and again.
    let around = listen(|mut stream| {
        let place = stream.local_addr().map(|address| address.port()).unwrap_or(0);
        while request(&mut stream).is_some() {
            let to = format!("http://localhost:{place}/");
            let _ = write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (error, answers) = read(around, PATIENT);
    assert!(matches!(error, ReadError::Refused { .. }) && answers.values().sum::<u64>() <= 5, "{error} {answers:?}");
}

/// A portal with TLS; its certificate is for `localhost`.
fn secure_portal() -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let config = Arc::new(config.expect("a configuration"));
    let portal = Arc::new(Mutex::new((Tables::default(), Interface::default())));
    listen(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        while let Some((method, body)) = request(&mut stream) {
            let (tables, interface) = &mut *portal.lock().expect("no panic");
            tables.advance(Timestamp(1_772_434_800_000));
            let answer = interface.answer(tables, &method, &body);
            let (status, body) = (answer.status, answer.body);
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                return;
            }
        }
    })
}

/// A file that is removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("funnelwatch-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_portal_of_a_private_authority_is_asked_only_if_the_authority_is_trusted() {
    let address = secure_portal();
    let [ca, other, none] = [("ca.pem", AUTHORITY), ("other.pem", OTHER_AUTHORITY), ("none.pem", "no certificate")]
        .map(|(name, text)| File::new(name, text));
    let post = |ca: Option<&File>, host: &str| {
        let mut http = Http::new(ca.map(|file| file.0.as_path())).expect("a connection");
        http.post(&webhook("https", host, address), "profile", "{}").map(|received| received.status)
    };
    assert_eq!(post(Some(&ca), "localhost"), Ok(200));
    assert_eq!(post(None, "localhost"), Err("tls"), "without the authority");
    assert_eq!(post(Some(&other), "localhost"), Err("tls"), "with another authority");
    assert_eq!(post(Some(&ca), "127.0.0.1"), Err("tls"), "under another name");
    assert!(Http::new(Some(&none.0)).is_err() && Http::new(Some(&none.0.join("x"))).is_err());
    // A server without TLS, at an address with https.
    let plain = listen(answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned()));
    let mut http = Http::new(Some(&ca.0)).expect("a connection");
    let answer = http.post(&webhook("https", "localhost", plain), "profile", "{}").map(|received| received.status);
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn a_check_of_a_portal_of_a_private_authority_needs_its_certificate() {
    let address = secure_portal();
    let ca = File::new("check-ca.pem", AUTHORITY);
    let check = |name: &str, ca: &str| {
        let url = format!("https://localhost:{}/rest/1/{SECRET}/", address.port());
        let text = format!(
            "gateway:\n  sources:\n    - {{name: box, tenant: romashka, time_zone: Europe/Moscow, \
             bitrix24: {{url: '{url}'{ca}}}}}\n"
        );
        let config = File::new(name, &text);
        let output = Command::new(env!("CARGO_BIN_EXE_funnelwatch"))
            .args(["gateway", "check", "--config"])
            .arg(&config.0)
            .output()
            .expect("the program starts");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(!said.contains(SECRET), "{said}");
        (output.status.success(), said)
    };
    let (_, said) = check("check.yaml", &format!(", ca: '{}'", ca.0.display()));
    assert!(said.contains("with leads") && said.contains("administrator"), "{said}");
    let (is_success, said) = check("check-without.yaml", "");
    assert!(!is_success && said.contains("tls") && !said.contains("with leads"), "{said}");
}
