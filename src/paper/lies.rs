//! Owns the ways in which the paper broker misbehaves when asked to, and the connection it can cut.
//! Never lies unasked. Invariant: a lie changes what is answered, never what the ledger holds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong, for orders placed; 0 = never. Also settable at run time: `POST /lies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Lies {
    /// Apply every N-th order, then reset the connection instead of answering
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub drop_answer_every: u64,
    /// Reset the connection at every N-th order before applying it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub reset_before_apply_every: u64,
    /// Answer this much later, milliseconds (the order is applied at once)
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay_ms: u64,
    /// Fill in this many parts (0 and 1: in one)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fill_parts: u32,
}

impl Lies {
    /// Whether the `nth` order placed since the lies were set (1, 2, …) is one to reset before it is applied.
    pub fn resets(&self, nth: u64) -> bool {
        self.reset_before_apply_every > 0 && nth.is_multiple_of(self.reset_before_apply_every)
    }
    /// Whether its answer is dropped.
    pub fn drops(&self, nth: u64) -> bool {
        self.drop_answer_every > 0 && nth.is_multiple_of(self.drop_answer_every)
    }
}

/// A listener whose connections can be reset from inside a request.
pub struct Lines(pub TcpListener);

/// One connection; once cut, its next write resets it.
pub struct Line {
    stream: TcpStream,
    cut: Cut,
}

/// The handle a request has on its own connection.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    /// Nothing more is written: the peer sees a reset.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = <TcpListener as Listener>::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY is not set");
        }
        (Line { stream, cut: Cut::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().cut.clone()
    }
}

impl Line {
    fn alive(&self) -> io::Result<()> {
        if !self.cut.0.load(Ordering::Acquire) {
            return Ok(());
        }
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.alive()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
