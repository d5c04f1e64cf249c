//! A TCP proxy between one process and the broker that can cut, stall and delay connections. It does not change any
//! byte. The listener stays open while the broker is down: new connections are then closed immediately.

use super::random::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The proxy of one process.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Shared>);

struct Shared {
    broker: u16,
    started: Instant,
    /// Ends of the current faults, in milliseconds since `started`.
    stalled_until: AtomicU64,
    slow_until: AtomicU64,
    connections: Mutex<Vec<(u64, TcpStream)>>,
    count: AtomicU64,
}

impl Proxy {
    /// Forwards connections from one local port to another.
    pub(crate) fn start(port: u16, broker: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let proxy = Self(Arc::new(Shared {
            broker,
            started: Instant::now(),
            stalled_until: AtomicU64::new(0),
            slow_until: AtomicU64::new(0),
            connections: Mutex::default(),
            count: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&proxy.0);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // If the broker is down, the connection is closed and the client reconnects.
                let _ = shared.connect(client);
            }
        });
        Ok(proxy)
    }

    /// Closes all connections and returns their number.
    pub(crate) fn cut(&self) -> usize {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.len() / 2;
        for (_, stream) in connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        count
    }

    /// Forwards nothing for this duration.
    pub(crate) fn stall(&self, time: Duration) {
        self.0.stalled_until.store(self.0.now() + time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Delays all data by 50 to 200 ms for this duration.
    pub(crate) fn slow(&self, time: Duration) {
        self.0.slow_until.store(self.0.now() + time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let broker = TcpStream::connect_timeout(&([127, 0, 0, 1], self.broker).into(), Duration::from_secs(1))?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let ends = [(client.try_clone()?, broker.try_clone()?), (broker.try_clone()?, client.try_clone()?)];
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push((id, client));
        connections.push((id, broker));
        drop(connections);
        for (direction, (from, to)) in (0..).zip(ends) {
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                let _ = shared.pump(&from, &to, Random::new(id, direction));
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                let mut connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.retain(|(other, _)| *other != id);
            });
        }
        Ok(())
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, mut random: Random) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if self.slow_until.load(Ordering::Relaxed) > self.now() {
                std::thread::sleep(random.seconds(0.05, 0.2));
            }
            while self.stalled_until.load(Ordering::Relaxed) > self.now() {
                std::thread::sleep(Duration::from_millis(20));
            }
            to.write_all(&buffer[..length])?;
        }
    }
}
