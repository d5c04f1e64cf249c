//! The server: accepts connections, and limits what they cost.
//!
//! A new connection is always accepted: at the limit the one that has been idle longest is closed, or if none is idle, the
//! one with the oldest request. *Alternative considered*: not to accept at the limit, so that a probe would wait behind
//! idle connections for as long as their timeout.

use super::activity::Activity;
use super::write_deadline::WriteDeadline;
use crate::config::HttpServer;
use crate::telemetry::http_metrics::{Closed, HttpMetrics};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Threads that compute answers: one for `/metrics`, one for `/api/v1`, and one spare.
const THREADS: usize = 3;
/// The pause after a failed accept: usually for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves on `address` on a separate thread until the process ends; returns the bound address.
pub(super) fn start(
    thread: &'static str,
    address: SocketAddr,
    settings: &HttpServer,
    routes: Router,
    metrics: Arc<HttpMetrics>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().enable_time().max_blocking_threads(THREADS).build()?;
    let server = Server::new(settings, routes, metrics);
    let work = move || {
        if let Err(error) = runtime.block_on(server.accept(listener)) {
            tracing::error!("serve http on {bound}: {error}");
        }
    };
    std::thread::Builder::new().name(thread.into()).spawn(work)?;
    Ok(bound)
}

pub(super) struct Server {
    http1: http1::Builder,
    write_timeout: Duration,
    routes: TowerToHyperService<Router>,
    metrics: Arc<HttpMetrics>,
    limit: usize,
    /// Increases with every connection and request.
    tick: Arc<AtomicU64>,
    open: Vec<(Arc<Activity>, AbortHandle)>,
}

impl Server {
    pub(super) fn new(settings: &HttpServer, routes: Router, metrics: Arc<HttpMetrics>) -> Self {
        let duration = |span: crate::domain::time::Span| Duration::from_millis(span.0 as u64);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(duration(settings.read_timeout))
            .max_buf_size(settings.header_bytes)
            // A body is written from where it is, and not copied for each of its readers.
            .writev(true);
        Self {
            http1,
            write_timeout: duration(settings.write_timeout),
            routes: TowerToHyperService::new(routes),
            metrics,
            limit: settings.connections,
            tick: Arc::default(),
            open: Vec::new(),
        }
    }

    async fn accept(mut self, listener: TcpListener) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) => {
                    tracing::debug!("accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.open.retain(|(_, task)| !task.is_finished());
        if self.open.len() >= self.limit {
            self.close_one();
        }
        let activity = self.activity();
        let stream = WriteDeadline::new(stream, self.write_timeout, Arc::clone(&activity));
        let task = tokio::spawn(self.serve(stream, peer, &activity)).abort_handle();
        self.open.push((activity, task));
    }

    /// The activity of a new connection.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::new(Activity::new(&self.tick, &self.metrics))
    }

    /// Closes the connection that has been idle longest, else the one with the oldest request.
    fn close_one(&mut self) {
        let oldest = self.open.iter().enumerate().min_by_key(|(_, (activity, _))| activity.rank());
        if let Some((index, _)) = oldest {
            let (activity, task) = self.open.swap_remove(index);
            task.abort();
            activity.close(Closed::Limit);
        }
    }

    /// Serves one connection until its end.
    pub(super) fn serve<S: Read + Write + Send + Unpin + 'static>(
        &self,
        stream: S,
        peer: SocketAddr,
        activity: &Arc<Activity>,
    ) -> impl Future<Output = ()> + Send + use<S> {
        let (routes, activity) = (self.routes.clone(), Arc::clone(activity));
        let counted = Counted::new(&self.metrics);
        let requests = Arc::clone(&activity);
        let service = service_fn(move |mut request: Request<Incoming>| {
            requests.begin_request();
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.call(request)
        });
        let connection = self.http1.serve_connection(stream, service);
        async move {
            let _counted = counted;
            match connection.await {
                Err(error) if error.is_timeout() => activity.close(Closed::ReadTimeout),
                // The client's fault, or its end.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Counts a connection while it is open.
struct Counted(Arc<HttpMetrics>);

impl Counted {
    fn new(metrics: &Arc<HttpMetrics>) -> Self {
        metrics.connected();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}
