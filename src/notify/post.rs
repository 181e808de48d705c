//! Owns one call of a receiver: no redirect, no second try, no more read than the head of the answer.
//! Never says that nothing left when something may have. Invariant: the id is the letter's, whatever the attempt.

use jiff::{SignedDuration, Timestamp};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use super::book::Caller;
use crate::domain::notice::attempt::Answer;
use crate::domain::notice::letter::Letter;
use crate::domain::notice::routes::Kind;
use crate::domain::notice::{slack, webhook};
use crate::runtime::clock;

/// Posts a letter once. `is_again`: an earlier attempt may have arrived.
pub async fn post(caller: &Caller, letter: &Letter, is_again: bool) -> Answer {
    let request = match caller.kind {
        Kind::Slack => caller.client.post(caller.url.clone()).body(slack::body(letter, is_again)),
        Kind::Webhook => {
            let body = webhook::body(letter);
            // Of this attempt: receivers refuse what is too old.
            let now_s = clock::now().as_second();
            let signature = webhook::signature(&caller.keys, &letter.id, now_s, &body);
            caller
                .client
                .post(caller.url.clone())
                .header("webhook-id", &letter.id)
                .header("webhook-timestamp", now_s)
                .header("webhook-signature", signature)
                .body(body)
        }
    };
    match request.header(CONTENT_TYPE, "application/json; charset=utf-8").send().await {
        // The body is left unread, however long it is: the status says it all.
        Ok(response) => Answer::Status(response.status().as_u16(), retry_after(&response)),
        Err(error) if error.is_connect() || error.is_builder() => {
            Answer::NothingLeft(chain(&error))
        }
        Err(error) => Answer::Lost(chain(&error)),
    }
}

/// Seconds or a date.
fn retry_after(response: &Response) -> Option<SignedDuration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(SignedDuration::from_secs(i64::from(seconds)));
    }
    let at = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    Some(at.duration_since(clock::now()).max(SignedDuration::ZERO))
}

/// What went wrong, without the address: it may be a secret.
fn chain(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "no connection",
        () => "the call broke off",
    };
    let mut told = what.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        told += &format!(": {error}");
        source = error.source();
    }
    crate::domain::notice::plain(&told, 300)
}
