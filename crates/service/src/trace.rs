//! The W3C trace context: one trace from a client's request over the logs to whoever waits for what comes of it.
//!
//! Nothing is exported. The ID of the trace is in the spans of log lines, so that one search finds what all services say of
//! a request. What clients send is taken as it is: an ID is no more than a name.

use std::fmt;

/// Name of the header, of requests over HTTP as of calls between services.
pub const TRACEPARENT: &str = "traceparent";

/// Bit of the flags: whoever began the trace records it.
const SAMPLED: u8 = 1;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// ID of a trace: 32 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A trace, and the step of it that led here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    parent_id: u64,
    flags: u8,
}

impl TraceContext {
    /// Begins a trace.
    #[must_use]
    pub fn begin() -> Self {
        Self { trace_id: TraceId(rand::random::<u128>().max(1)), parent_id: new_parent_id(), flags: 0 }
    }

    /// Reads the value of the header; `None` if it is none.
    ///
    /// Later versions of the format may add to its end.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (version, rest) = field(value, 2)?;
        let (trace_id, rest) = field(rest.strip_prefix('-')?, 32)?;
        let (parent_id, rest) = field(rest.strip_prefix('-')?, 16)?;
        let (flags, rest) = field(rest.strip_prefix('-')?, 2)?;
        let ends = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
        let parent_id = u64::from_str_radix(parent_id, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let holds = ends && version != "ff" && trace_id != 0 && parent_id != 0;
        holds.then_some(Self { trace_id: TraceId(trace_id), parent_id, flags: flags & SAMPLED })
    }

    /// The context of a request: what its header says, or else a new one.
    #[must_use]
    pub fn of_request(headers: &http::HeaderMap) -> Self {
        Self::of_header(headers).unwrap_or_else(Self::begin)
    }

    /// What the header says. More than one says nothing.
    #[must_use]
    pub fn of_header(headers: &http::HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (first, second) = (values.next()?, values.next());
        if second.is_some() { None } else { Self::parse(first.to_str().ok()?) }
    }

    /// The context of what this task does, if it is part of a trace.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// What to hand on with whatever this task writes or asks: the next step of its trace, or else of a new one.
    #[must_use]
    pub fn next_step() -> Self {
        Self::current().map_or_else(Self::begin, |context| Self { parent_id: new_parent_id(), ..context })
    }

    /// ID of the trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Runs something as a part of the trace.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

/// The value of the header.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

fn new_parent_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// Takes so many lowercase hexadecimal digits.
fn field(text: &str, digits: usize) -> Option<(&str, &str)> {
    let (field, rest) = text.split_at_checked(digits)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    field.bytes().all(is_digit).then_some((field, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_what_is_written() {
        let context = TraceContext::parse(GIVEN).expect("it holds");
        assert_eq!(context.to_string(), GIVEN);
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let begun = TraceContext::begin();
        assert_eq!(TraceContext::parse(&begun.to_string()), Some(begun));
        let later = GIVEN.replacen("00", "cc", 1) + "-more";
        assert_eq!(TraceContext::parse(&later), Some(context));
    }

    #[test]
    fn what_is_none_is_refused() {
        for value in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(value), None, "{value}");
        }
        let mut headers = http::HeaderMap::new();
        headers.append(TRACEPARENT, GIVEN.parse().expect("a value"));
        assert_eq!(TraceContext::of_header(&headers), TraceContext::parse(GIVEN));
        headers.append(TRACEPARENT, GIVEN.parse().expect("a value"));
        assert_eq!(TraceContext::of_header(&headers), None, "it is not known which one counts");
    }

    #[tokio::test]
    async fn steps_stay_in_the_trace_of_their_task() {
        assert_eq!(TraceContext::current(), None);
        let context = TraceContext::parse(GIVEN).expect("it holds");
        context
            .scope(async {
                tokio::task::yield_now().await;
                let next = TraceContext::next_step();
                assert_eq!((next.trace_id, next.flags), (context.trace_id, context.flags));
                assert_ne!(next.parent_id, context.parent_id);
            })
            .await;
        assert_ne!(TraceContext::next_step().trace_id, TraceContext::next_step().trace_id);
    }
}
