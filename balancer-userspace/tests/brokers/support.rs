//! What the tests share: a clock, toy servers, and waiting with a deadline.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use balancer_common::abi::BackendId;
use balancer_control::Moment;
use balancer_userspace::config::SourceConfig;
use balancer_userspace::telemetry::{OwnClients, Source, Target};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest time anything here may take on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Time since the first call.
pub(crate) fn clock() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    Moment(START.get_or_init(Instant::now).elapsed())
}

/// Backend 3 with nothing configured.
pub(crate) fn target() -> Target {
    Target { backend: BackendId(3), cores: None, own: OwnClients::default() }
}

pub(crate) fn source(config: &SourceConfig) -> Source {
    Source::new(config, &target(), clock).unwrap()
}

/// A server that gives every connection to `serve`. Ends with the test.
pub(crate) async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    (address, task)
}

/// A loopback port that nothing listens on.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Tries until something comes of it.
pub(crate) async fn wait_for<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what} did not happen within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
