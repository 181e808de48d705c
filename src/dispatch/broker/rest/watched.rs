//! A request's body that a test can die in the middle of: connected and nothing written, half written, all written.
//! Never in a build without `faults`, and there only while one of these points is armed.
//! Invariant: its bytes are those of the body it stands for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::Request;
use tokio::time::Sleep;

use crate::runtime::faults::{crash_point, is_armed};

/// By then what was handed over is in the socket: loopback, and nothing else is asked of the connection.
const WRITTEN: Duration = Duration::from_millis(5);

/// The request; with a watched body if one of the points within a write is armed.
pub fn watched(mut request: Request) -> Request {
    let armed = ["dispatch/connected", "dispatch/half-written", "dispatch/all-written"];
    if !armed.into_iter().any(is_armed) {
        return request;
    }
    let Some(bytes) = request.body().and_then(|body| body.as_bytes()) else { return request };
    let rest = Bytes::copy_from_slice(bytes);
    *request.body_mut() = Some(reqwest::Body::wrap(Watched { rest, asked: 0, written: None }));
    request
}

struct Watched {
    rest: Bytes,
    asked: u8,
    written: Option<Pin<Box<Sleep>>>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.asked {
            0 => {
                // There is a connection; the head of the request is still in a buffer.
                crash_point("dispatch/connected");
                let half = self.rest.len() / 2;
                self.asked = 1;
                Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(half)))))
            }
            1 => {
                let written =
                    self.written.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITTEN)));
                ready!(written.as_mut().poll(cx));
                crash_point("dispatch/half-written");
                self.asked = 2;
                tokio::spawn(async {
                    tokio::time::sleep(WRITTEN).await;
                    crash_point("dispatch/all-written");
                });
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))))
            }
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.asked == 2
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
