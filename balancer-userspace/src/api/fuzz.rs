//! What anybody may write into the API's socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::http::{UnixPeer, connection};
use super::server::{late, router};
use super::wire::{ApiError, ErrorCode};
use super::{CALL_QUEUE, Call, Reply};

/// Bytes of a request as they come, to an agent that repeats what it is asked and does nothing.
pub(crate) fn requests(data: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime can be made");
    }
    let answer = RUNTIME.with(|runtime| runtime.block_on(talk(data)));
    if answer.is_empty() {
        return;
    }
    assert!(answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
    assert_ne!(answer.get(9..12), Some(&b"500"[..]), "{}", String::from_utf8_lossy(&answer));
}

async fn talk(data: &[u8]) -> Vec<u8> {
    let (calls, mut queue) = mpsc::channel(CALL_QUEUE);
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(data).await.expect("there is room for it");
    client.shutdown().await.expect("the other end is open");
    let agent = async {
        while let Some(call) = queue.recv().await {
            refuse(call)
        }
    };
    let mut answer = Vec::new();
    let (_, read, ()) = tokio::join!(
        connection(server, UnixPeer { uid: 0, pid: None }, router(calls), late),
        client.read_to_end(&mut answer),
        agent,
    );
    read.expect("the other end answers or closes");
    answer
}

fn refuse(call: Call) {
    fn with<T>(reply: Reply<T>, what: &str) {
        // Who asked may have gone.
        let _ = reply.send(Err(ApiError::new(ErrorCode::NotFound, what)));
    }
    let what = format!("{call:?}");
    match call {
        Call::Status(reply) => with(reply, &what),
        Call::Drain { reply, .. } | Call::Weight { reply, .. } => with(reply, &what),
        Call::Rebalance { reply, .. } | Call::Runs(reply) | Call::StopRuns { reply, .. } => {
            with(reply, &what)
        }
        Call::Flows { reply, .. } => with(reply, &what),
        Call::Explain { reply, .. } => with(reply, &what),
        Call::Log { reply, .. } => with(reply, &what),
        Call::Reload { reply, .. } => with(reply, &what),
    }
}
