//! LISTEN: wakes whoever waits when the outbox has something new. A lost notice costs a poll, nothing more.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_util::sync::CancellationToken;

/// The channel that the gate's transaction notifies.
pub const OUTBOX_CHANNEL: &str = "noctus_outbox";

/// Listens on a connection of its own until `stop`, and again after one was lost.
pub async fn listen(
    url: String,
    channel: &'static str,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            ended = once(&url, channel, &wake) => {
                tracing::warn!(channel, reason = %ended, "LISTEN was lost; polling until it is back");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn once(url: &str, channel: &str, wake: &Notify) -> String {
    let (client, mut connection) = match tokio_postgres::connect(url, NoTls).await {
        Ok(connected) => connected,
        Err(error) => return error.to_string(),
    };
    let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    let statement = format!("LISTEN {channel}");
    let listening = client.batch_execute(&statement);
    tokio::pin!(listening);
    let mut started = false;
    loop {
        tokio::select! {
            done = &mut listening, if !started => match done {
                Ok(()) => started = true,
                Err(error) => return error.to_string(),
            },
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(_))) => wake.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "the connection was closed".into(),
            },
        }
    }
}
