//! ADAPTER: the paper broker's desk, called in this process: for simulations and the conformance suite.
//! Never touches a socket or a file. Invariant: a lie leads to the outcome that it leads to over HTTP.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::handshake::HandshakeError;
use super::protocol::{
    BrokerStatus, Capabilities, EventPage, OrderView, PlaceOrder, Positions, ReplaceOrder,
};
use super::{Asked, Broker, MayWrite, Moved, NoAnswer, Placed, replacement_fits};
use crate::paper::desk::{Arrival, Call, Desk, Placed as Taken};
use crate::paper::lies::{After, Before};
use crate::runtime::clock;

/// What the paper broker's 429 asks for.
const PEACE: Duration = Duration::from_secs(1);
/// How often it is looked whether an event can be told.
const LOOK: Duration = Duration::from_millis(10);

/// A desk in this process; cheap to clone.
#[derive(Clone)]
pub struct InProcess {
    desk: Arc<Mutex<Desk>>,
    patience: Duration,
}

impl InProcess {
    /// Calls this desk; an answer that comes after `patience` is none.
    pub fn new(desk: Arc<Mutex<Desk>>, patience: Duration) -> Self {
        Self { desk, patience }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("no panic while the desk is held")
    }

    /// Carries a call out, and says what its caller gets to know.
    async fn carry_out<T>(
        &self,
        call: Call,
        id: &str,
        work: impl FnOnce(&mut Desk, &Arrival) -> T + Send,
    ) -> Result<T, Lost>
    where
        T: Send,
    {
        let (arrival, done) = {
            let mut desk = self.desk();
            let arrival = desk.arrived(call);
            if let Some(before) = arrival.before {
                desk.turn_away(call, id, before, clock::now());
                return Err(match before {
                    Before::Reset => Lost::new("connection_lost"),
                    Before::Error => Lost::new("http_status"),
                    Before::RateLimited => Lost { code: "rate_limited", peace: Some(PEACE) },
                });
            }
            let done = work(&mut desk, &arrival);
            (arrival, done)
        };
        let delay = Duration::from_millis(arrival.delay_ms);
        tokio::time::sleep(delay.min(self.patience)).await;
        match arrival.after {
            _ if delay > self.patience => Err(Lost::new("timeout")),
            None => Ok(done),
            Some(After::Reset) => Err(Lost::new("connection_lost")),
            Some(After::Error) => Err(Lost::new("http_status")),
            Some(After::Malformed) => Err(Lost::new("answer_malformed")),
            Some(After::Huge) => Err(Lost::new("answer_too_large")),
            Some(After::Drip) => {
                tokio::time::sleep(self.patience).await;
                Err(Lost::new("timeout"))
            }
        }
    }
}

/// A call whose answer did not come.
struct Lost {
    code: &'static str,
    peace: Option<Duration>,
}

impl Lost {
    fn new(code: &'static str) -> Self {
        Self { code, peace: None }
    }
    fn detail(&self) -> String {
        format!("the desk's lie: {}", self.code)
    }
    fn placed(self) -> Placed {
        Placed::Unknown { code: self.code, detail: self.detail(), retry_after: self.peace }
    }
    fn moved(self) -> Moved {
        Moved::Unknown { code: self.code, detail: self.detail(), retry_after: self.peace }
    }
}

#[async_trait]
impl Broker for InProcess {
    async fn capabilities(&self) -> Result<Capabilities, HandshakeError> {
        Ok(self.desk().capabilities().clone())
    }

    async fn place(&self, order: &PlaceOrder, may_write: MayWrite<'_>) -> Placed {
        if let Err(code) = may_write() {
            return Placed::NotSent { code };
        }
        let id = &order.client_order_id;
        let taken = self
            .carry_out(Call::Order, id, |desk, arrival| {
                desk.place(order.clone(), arrival.mischief, clock::now())
            })
            .await;
        match taken {
            Err(lost) => lost.placed(),
            Ok(Taken::New(view) | Taken::Repeat(view) | Taken::Conflict(view)) => {
                match view.order == *order {
                    true => Placed::Known(Box::new(view)),
                    false => Placed::Mismatch(Box::new(view)),
                }
            }
            Ok(Taken::Unknown | Taken::Ended(_) | Taken::Filled(_)) => {
                Placed::Unknown { code: "http_status", detail: String::new(), retry_after: None }
            }
        }
    }

    async fn ask(&self, order: &PlaceOrder) -> Asked {
        let desk = self.desk();
        if !desk.answers_queries() {
            let detail = "orders cannot be asked about".into();
            return Asked::Failed(NoAnswer { code: "http_status", detail, retry_after: None });
        }
        match desk.find(&order.client_order_id, clock::now()) {
            None => Asked::NotFound,
            Some(view) if view.order == *order => Asked::Known(Box::new(view)),
            Some(view) => Asked::Mismatch(Box::new(view)),
        }
    }

    async fn cancel(&self, order: &PlaceOrder, reason: &str, may_write: MayWrite<'_>) -> Moved {
        if let Err(code) = may_write() {
            return Moved::NotSent { code };
        }
        let id = &order.client_order_id;
        let ended = self
            .carry_out(Call::Cancel, id, |desk, arrival| match arrival.refused {
                true => (true, desk.refuse_cancel(id, clock::now())),
                false => (false, desk.cancel(id, Some(reason.into()), clock::now())),
            })
            .await;
        match ended {
            Err(lost) => lost.moved(),
            Ok((_, None)) => Moved::NotFound,
            Ok((true, Some(view))) => {
                let (code, original) = ("cannot_cancel".into(), Some(Box::new(view)));
                Moved::Refused { code, original }
            }
            Ok((false, Some(view))) if view.order == *order => Moved::Known(Box::new(view)),
            Ok((false, Some(view))) => Moved::Mismatch(Box::new(view)),
        }
    }

    async fn replace(
        &self,
        order: &PlaceOrder,
        with: &ReplaceOrder,
        may_write: MayWrite<'_>,
    ) -> Moved {
        if let Err(code) = may_write() {
            return Moved::NotSent { code };
        }
        let id = &order.client_order_id;
        let taken = self
            .carry_out(Call::Replace, id, |desk, _| desk.replace(id, with.clone(), clock::now()))
            .await;
        let refused = |code: &str, view: OrderView| Moved::Refused {
            code: code.into(),
            original: Some(Box::new(view)),
        };
        match taken {
            Err(lost) => lost.moved(),
            Ok(Taken::Unknown) => Moved::NotFound,
            Ok(Taken::Ended(view)) => refused("not_working", view),
            Ok(Taken::Filled(view)) => refused("filled_meanwhile", view),
            Ok(Taken::Conflict(view)) => Moved::Mismatch(Box::new(view)),
            Ok(Taken::New(view) | Taken::Repeat(view)) => {
                let fits = replacement_fits(&view.order, order, with);
                match view.status {
                    _ if !fits => Moved::Mismatch(Box::new(view)),
                    BrokerStatus::Rejected => {
                        let code = view.code.clone().unwrap_or_else(|| "rejected".into());
                        refused(&code, view)
                    }
                    _ => Moved::Known(Box::new(view)),
                }
            }
        }
    }

    async fn positions(&self, account: &str) -> Result<Positions, NoAnswer> {
        Ok(self.desk().positions(account, clock::now()))
    }

    async fn events(&self, after: Option<u64>, wait: Duration) -> Result<EventPage, NoAnswer> {
        if self.desk().lies().no_events {
            let detail = "events are not told".into();
            return Err(NoAnswer { code: "http_status", detail, retry_after: None });
        }
        let Some(after) = after else {
            return Ok(EventPage { events: vec![], last: self.desk().newest_event() });
        };
        let until = tokio::time::Instant::now() + wait;
        loop {
            let page = self.desk().events(after, None, clock::now());
            if page.last > after || tokio::time::Instant::now() >= until {
                return Ok(page);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
