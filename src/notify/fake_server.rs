//! Owns a server of tests that answers requests on a real socket, and notes their paths.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// A server that answers until the test ends.
pub(super) struct FakeServer {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    /// Answers each path with a status and a body; without an answer, the connection is closed.
    pub(super) fn http(answer: impl Fn(&str) -> Option<(u16, String)> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self { address: listener.local_addr().expect("an address"), paths: Arc::default() };
        let paths = Arc::clone(&server.paths);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
                let mut head: Vec<String> = Vec::new();
                while let Some(Ok(line)) =
                    (&mut reader).lines().next().filter(|line| !matches!(line, Ok(line) if line.is_empty()))
                {
                    head.push(line);
                }
                let length =
                    head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { continue };
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                paths.lock().expect("no panic").push(path.to_owned());
                if let Some((status, text)) = answer(path) {
                    let length = text.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                    );
                }
            }
        });
        server
    }

    /// Speaks as a mail server does, and answers each command as `answer` says.
    pub(super) fn smtp(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self { address: listener.local_addr().expect("an address"), paths: Arc::default() };
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let reader = BufReader::new(stream.try_clone().expect("a clone"));
                let _ = stream.write_all(b"220 ready\r\n");
                for line in reader.lines().map_while(Result::ok) {
                    if stream.write_all(format!("{}\r\n", answer(&line)).as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        server
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address of an HTTP server.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The paths of the requests so far.
    pub(super) fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("no panic").clone()
    }
}
