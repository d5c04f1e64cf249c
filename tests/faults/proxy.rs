//! Owns a TCP proxy between one process and the broker: cuts its connections, stalls them, slows them down. Promises to
//! change no byte. Its listener stays while the broker is away: connections are then closed as soon as they are made.

use super::dice::Dice;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The way of one process to the broker.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Shared>);

struct Shared {
    broker: u16,
    begun: Instant,
    /// Until when, in milliseconds since the beginning.
    stalled: AtomicU64,
    slow: AtomicU64,
    connections: Mutex<Vec<(u64, TcpStream)>>,
    count: AtomicU64,
}

impl Proxy {
    /// Listens on one port of this machine for what goes to another one.
    pub(crate) fn start(listens: u16, broker: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", listens))?;
        let proxy = Self(Arc::new(Shared {
            broker,
            begun: Instant::now(),
            stalled: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            connections: Mutex::default(),
            count: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&proxy.0);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client whose broker is away sees its connection closed, and comes again.
                let _ = shared.connect(client);
            }
        });
        Ok(proxy)
    }

    /// Breaks all connections; how many there were.
    pub(crate) fn cut(&self) -> usize {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.len() / 2;
        for (_, stream) in connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        count
    }

    /// Passes nothing on for so long.
    pub(crate) fn stall(&self, time: Duration) {
        self.0.stalled.store(self.0.now() + time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Keeps everything for 50 to 200 ms before it is passed on.
    pub(crate) fn slow(&self, time: Duration) {
        self.0.slow.store(self.0.now() + time.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let broker = TcpStream::connect_timeout(&([127, 0, 0, 1], self.broker).into(), Duration::from_secs(1))?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let ends = [(client.try_clone()?, broker.try_clone()?), (broker.try_clone()?, client.try_clone()?)];
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push((number, client));
        connections.push((number, broker));
        drop(connections);
        for (way, (from, to)) in (0..).zip(ends) {
            let shared = Arc::clone(self);
            std::thread::spawn(move || {
                let _ = shared.pump(&from, &to, Dice::new(number, way));
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                let mut connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.retain(|(other, _)| *other != number);
            });
        }
        Ok(())
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, mut dice: Dice) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if self.slow.load(Ordering::Relaxed) > self.now() {
                std::thread::sleep(dice.seconds(0.05, 0.2));
            }
            while self.stalled.load(Ordering::Relaxed) > self.now() {
                std::thread::sleep(Duration::from_millis(20));
            }
            to.write_all(&buffer[..length])?;
        }
    }
}
