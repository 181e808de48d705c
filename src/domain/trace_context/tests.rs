use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn header(name: &str, value: &str) -> Header {
    (name.into(), Some(value.as_bytes().to_vec()))
}

#[test]
fn what_the_recommendation_allows_is_taken_and_nothing_else() {
    let more = format!("cc{}-what-comes", &GOOD[2..]);
    let good = [GOOD, &GOOD.replace("-01", "-00"), &GOOD.replace("-01", "-ff"), &more];
    for text in good {
        assert!(TraceContext::parse(text, None).is_ok(), "{text}");
    }
    let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    let bad = [
        "",
        "00",
        &GOOD[..54],
        &format!("{GOOD}-"),
        &format!("{GOOD} "),
        &format!(" {GOOD}"),
        &GOOD.replace("4bf", "4BF"),
        &GOOD.replace("4bf", "4gf"),
        &GOOD.replace("00-4", "ff-4"),
        &GOOD.replace("00-4", "0-04"),
        &GOOD.replace("-01", "_01"),
        &GOOD.replace("-01", "-0G"),
        &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
        &zero,
        &format!("cc{}.what", &GOOD[2..]),
        "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-1",
    ];
    for text in bad {
        assert_eq!(TraceContext::parse(text, None), Err(BadTraceContext::Traceparent), "{text}");
    }
}

#[test]
fn a_version_to_come_goes_on_as_ours_with_the_flags_that_are_known() {
    let text = format!("42-{TRACE}-00f067aa0ba902b7-ff-more");
    let context = TraceContext::parse(&text, None).unwrap();
    assert_eq!(context.traceparent(), format!("00-{TRACE}-00f067aa0ba902b7-03"));
    assert!(context.is_sampled());
}

#[test]
fn the_headers_of_a_record_are_read_whatever_their_case() {
    let headers = [
        header("noctus-signature", "kid=a,v1=00"),
        header("Traceparent", GOOD),
        header("tracestate", "congo=t61rcWkgMzE, "),
        header("tracestate", "rojo=00f067aa0ba902b7"),
    ];
    let context = TraceContext::of_headers(&headers).unwrap().expect("a context");
    assert_eq!(context.traceparent(), GOOD);
    assert_eq!(context.tracestate(), Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
    assert_eq!(TraceContext::of_headers(&headers[..1]), Ok(None));
    let twice = [header("traceparent", GOOD), header("TRACEPARENT", GOOD)];
    assert_eq!(TraceContext::of_headers(&twice), Err(BadTraceContext::Twice));
    let absent = [("traceparent".to_string(), None)];
    assert_eq!(TraceContext::of_headers(&absent), Err(BadTraceContext::Traceparent));
    let no_text = [("traceparent".to_string(), Some(vec![0xff; 55]))];
    assert_eq!(TraceContext::of_headers(&no_text), Err(BadTraceContext::Traceparent));
}

#[test]
fn a_bad_tracestate_is_dropped_and_its_traceparent_kept() {
    let long = "a".repeat(257);
    let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
    let bad = [
        "a",
        "=b",
        "A=b",
        "1a=b",
        "a=",
        "a=b=c",
        "a=b,a=c",
        "a =b",
        "a@1b=c",
        "a@abcdefghijklmno=c",
        "a=\u{e9}",
        &format!("{long}=b"),
        &format!("a={long}"),
        &many.join(","),
    ];
    for text in bad {
        let context = TraceContext::parse(GOOD, Some(text)).unwrap();
        assert_eq!((context.traceparent().as_str(), context.tracestate()), (GOOD, None), "{text}");
    }
    for (text, kept) in [
        ("", None),
        (" , ,", None),
        ("a=b", Some("a=b")),
        (" a=b\t,,1x@y=  c", Some("a=b,1x@y=  c")),
        (&many[..32].join(","), Some(many[..32].join(",").as_str())),
    ] {
        let context = TraceContext::parse(GOOD, Some(text)).unwrap();
        assert_eq!(context.tracestate(), kept, "{text}");
    }
}

#[test]
fn of_a_long_tracestate_long_members_go_first_and_then_the_last_ones() {
    let big = format!("big={}", "x".repeat(200));
    let small: Vec<String> = (0..20).map(|n| format!("k{n:02}={}", "v".repeat(26))).collect();
    let text = format!("{big},{}", small.join(","));
    let context = TraceContext::parse(GOOD, Some(&text)).unwrap();
    let kept = context.tracestate().expect("what fits");
    assert_eq!(kept, small[..16].join(","));
    assert!(kept.len() <= STATE_MAX);
}

#[test]
fn a_hop_is_a_span_of_its_own_and_the_same_hop_is_the_same_span() {
    let context = TraceContext::parse(GOOD, Some("a=b")).unwrap();
    let decided = context.child(&decide("order-00001"));
    assert_eq!(decided, context.child(&decide("order-00001")));
    assert_eq!(decided.trace_id(), context.trace_id());
    assert_eq!(decided.tracestate(), Some("a=b"));
    let sent = context.child(&send("order-00001", 1));
    assert_ne!(decided.parent_id(), context.parent_id());
    assert_ne!(decided.parent_id(), sent.parent_id());
    assert_ne!(sent.parent_id(), context.child(&send("order-00001", 2)).parent_id());
    assert_eq!(send("order-00001", 0), decide("order-00001"));
    // What is passed on is a promise to whoever reads the topics: this never changes.
    assert_eq!(decided.traceparent(), format!("00-{TRACE}-3948b62be93edf4e-01"));
    let begun = TraceContext::begun("20250813-060021-USDJPY-demo", "submit order-00001");
    assert_eq!(begun.traceparent(), "00-0ab2e286f7ee78c377490c6429ef4758-11896ccb23b8fa15-01");
    assert_eq!(headers_of(None, "a"), vec![]);
    assert_eq!(headers_of(Some(&context), "a"), context.child("a").headers());
}

proptest! {
    #[test]
    fn whatever_a_header_holds_what_is_taken_is_passed_on_as_it_is_taken(
        parent in "[0-9a-fg]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,4})?",
        state in "([a-z0-9@_*/=, \t-]|\\PC){0,700}",
    ) {
        if let Ok(context) = TraceContext::parse(&parent, Some(&state)) {
            let again = TraceContext::of_headers(&context.headers()).unwrap().unwrap();
            prop_assert_eq!(again.traceparent(), context.traceparent());
            prop_assert_eq!(again.tracestate(), context.tracestate());
            prop_assert!(context.tracestate().is_none_or(|state| state.len() <= STATE_MAX));
        }
    }

    #[test]
    fn no_bytes_are_too_odd_to_be_refused(parent in any::<Vec<u8>>(), state in any::<Vec<u8>>()) {
        let headers = [("traceparent".to_string(), Some(parent)), ("tracestate".into(), Some(state))];
        let _ = TraceContext::of_headers(&headers);
    }
}
