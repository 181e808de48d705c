//! What Noctus guarantees and a process can notice the breach of: one counter each, which must stay 0.
//! Never decides anything: whoever notices goes on as it would, and a person is called.

macro_rules! guarantees {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal ($invariant:literal)),+ $(,)?) => {
        /// A guarantee.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Guarantee {
            $($(#[doc = $what])+ $variant,)+
        }
        impl Guarantee {
            /// All of them.
            pub const ALL: &[Guarantee] = &[$(Guarantee::$variant),+];
            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Guarantee::$variant => $name),+ }
            }
            /// The invariant of ARCHITECTURE.md, or the rule of the contract, that it is of.
            pub fn invariant(self) -> &'static str {
                match self { $(Guarantee::$variant => $invariant),+ }
            }
            /// What was noticed if it is counted.
            pub fn what(self) -> &'static str {
                match self { $(Guarantee::$variant => concat!($($what),+)),+ }
            }
        }
    };
}

guarantees! {
    /// The sink met a second decision of a key, and it says something else than the first.
    OneDecisionPerKey = "one_decision_per_key" ("I2"),
    /// A batch was committed from a position that its reader had already moved past.
    OneReaderPerPosition = "one_reader_per_position" ("I3"),
    /// The sink met an event under a known id, and it says something else than the first.
    EventsNeverVary = "events_never_vary" ("I4"),
    /// An alert could not be written, or a process ended before it was committed: nobody will be told.
    NoEventDropped = "no_event_dropped" ("I5"),
    /// An attempt to send was there already when an order was claimed: it may have been sent.
    OneAttemptPerSend = "one_attempt_per_send" ("I6"),
    /// The broker has an order under our id that is not the order that was decided.
    OrderAsDecided = "order_as_decided" ("I6"),
    /// The broker filled more of an order than it was asked for.
    NoOverFill = "no_over_fill" ("I6"),
    /// An order that was locked had moved all the same when it was stored.
    OrderMovesOnce = "order_moves_once" ("C-RISK-8"),
    /// More was decided than was asked for.
    QuantityNeverGrows = "quantity_never_grows" ("C-RISK-5"),
    /// What a trace has reserved is above its cap after an order that opens.
    CapsHold = "caps_hold" ("I7"),
    /// A request was judged, and what became of it could not be kept.
    JudgedIsKept = "judged_is_kept" ("I9"),
}
