//! What the statements of `pg::lanes` do: who may send, by leases with epochs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Db, LaneRow, is_open};
use crate::domain::event::OrderStatus;
use crate::pg::lanes::{HeldLane, LaneKey, Work};

fn after(now: Timestamp, ms: u64) -> Timestamp {
    now + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

impl Db {
    /// `lanes::with_work`.
    pub fn lanes_with_work(&self) -> Vec<Work> {
        use OrderStatus::{Cancelled, Expired, New, Sent, Unknown};
        let mut lanes: BTreeMap<LaneKey, bool> = BTreeMap::new();
        for order in self.orders() {
            let asked = order.next_query_at.is_some();
            let (state, key) = (order.row.state, order.row.lane());
            if is_open(state) || matches!(state, Cancelled | Expired) && asked {
                let moves = matches!(state, New | Sent) || state == Unknown && !asked;
                *lanes.entry(key).or_default() |= moves;
            }
        }
        lanes.into_iter().map(|(key, moves)| Work { key, moves }).collect()
    }

    /// `lanes::take`.
    pub fn take_lanes(
        &mut self,
        worker: &str,
        lease_ms: u64,
        lanes: &[LaneKey],
        limit: usize,
        now: Timestamp,
    ) -> Vec<HeldLane> {
        for key in lanes {
            let free = || LaneRow { owner: String::new(), epoch: 0, lease_until: Timestamp::MIN };
            self.lanes.entry(key.clone()).or_insert_with(free);
        }
        let mut wanted: Vec<&LaneKey> = lanes.iter().collect();
        wanted.sort();
        wanted.dedup();
        let mut taken = Vec::new();
        for key in wanted {
            let Some(row) = self.lanes.get_mut(key) else { continue };
            if taken.len() < limit && row.lease_until < now {
                row.owner = worker.into();
                row.epoch += 1;
                row.lease_until = after(now, lease_ms);
                taken.push(HeldLane { key: key.clone(), epoch: row.epoch });
            }
        }
        taken
    }

    /// `lanes::renew`.
    pub fn renew_lanes(
        &mut self,
        worker: &str,
        lease_ms: u64,
        lanes: &[HeldLane],
        now: Timestamp,
    ) -> Vec<HeldLane> {
        let mut ours = Vec::new();
        for lane in lanes {
            let Some(row) = self.lanes.get_mut(&lane.key) else { continue };
            if row.epoch == lane.epoch && row.owner == worker {
                row.lease_until = after(now, lease_ms);
                ours.push(lane.clone());
            }
        }
        ours
    }

    /// `lanes::release`.
    pub fn release_lanes(&mut self, worker: &str, lanes: &[HeldLane]) {
        for lane in lanes {
            let Some(row) = self.lanes.get_mut(&lane.key) else { continue };
            if row.epoch == lane.epoch && row.owner == worker {
                (row.owner, row.lease_until) = (String::new(), Timestamp::MIN);
            }
        }
    }

    /// `lanes::hold`: those of the lanes that are ours now.
    pub fn hold_lanes(&self, worker: &str, lanes: &[HeldLane], now: Timestamp) -> Vec<HeldLane> {
        let ours = |lane: &&HeldLane| {
            self.lanes.get(&lane.key).is_some_and(|row| {
                row.epoch == lane.epoch && row.owner == worker && row.lease_until > now
            })
        };
        let mut held: Vec<HeldLane> = lanes.iter().filter(ours).cloned().collect();
        held.sort_by(|a, b| a.key.cmp(&b.key));
        held
    }
}
