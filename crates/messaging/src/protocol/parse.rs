//! Reads client operations from the front of a buffer, or answers that it needs more bytes.

use std::fmt;

/// One complete operation of a client. Everything borrows from the read buffer. Printed without passwords and payloads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// `CONNECT {json}`
    Connect(&'a [u8]),
    /// `PING`
    Ping,
    /// `PONG`
    Pong,
    /// `PUB` and `HPUB`
    Publish {
        /// Where it goes.
        subject: &'a [u8],
        /// Where answers go.
        reply: Option<&'a [u8]>,
        /// The header block with its final blank line, empty when there is none.
        headers: &'a [u8],
        /// The body.
        payload: &'a [u8],
        /// True for `HPUB`, also with an empty header block.
        with_headers: bool,
    },
    /// `SUB`
    Subscribe {
        /// The pattern.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The client's own name for the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB`
    Unsubscribe {
        /// The client's own name for the subscription.
        sid: &'a [u8],
        /// Total deliveries after which it ends; at once when absent.
        max: Option<u64>,
    },
    /// `+OK` and `INFO`, which a broker need not answer.
    Ignored,
    /// `-ERR`: the client gives up.
    Error,
}

impl fmt::Debug for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Connect(json) => f.debug_struct("Connect").field("len", &json.len()).finish(),
            Self::Ping => f.write_str("Ping"),
            Self::Pong => f.write_str("Pong"),
            Self::Publish { subject, reply, headers, payload, with_headers } => f
                .debug_struct("Publish")
                .field("subject", &text(subject))
                .field("reply", &reply.map(text))
                .field("headers_len", &headers.len())
                .field("payload_len", &payload.len())
                .field("with_headers", with_headers)
                .finish(),
            Self::Subscribe { subject, queue, sid } => f
                .debug_struct("Subscribe")
                .field("subject", &text(subject))
                .field("queue", &queue.map(text))
                .field("sid", &text(sid))
                .finish(),
            Self::Unsubscribe { sid, max } => {
                f.debug_struct("Unsubscribe").field("sid", &text(sid)).field("max", max).finish()
            }
            Self::Ignored => f.write_str("Ignored"),
            Self::Error => f.write_str("Error"),
        }
    }
}

/// What the parser refuses to buffer.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// Longest line in bytes, without its end.
    pub max_control_line: usize,
    /// Longest header block and payload together, in bytes.
    pub max_payload: usize,
}

/// What is wrong with the bytes. Each of these ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No verb of the protocol, or a payload that does not end with CRLF.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// A known verb with wrong arguments.
    #[error("Parser Error")]
    Arguments,
    /// A line without end.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// More than `max_payload`.
    #[error("Maximum Payload Violation")]
    Payload,
}

/// The first operation in `buffer` and the number of bytes it takes, or `None` when it is incomplete.
pub fn parse<'a>(
    buffer: &'a [u8],
    limits: ParseLimits,
) -> Result<Option<(Operation<'a>, usize)>, ParseError> {
    let window = &buffer[..buffer.len().min(limits.max_control_line + 2)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if buffer.len() > limits.max_control_line + 1 {
            Err(ParseError::ControlLine)
        } else if is_hopeless(buffer) {
            Err(ParseError::UnknownOperation)
        } else {
            Ok(None)
        };
    };
    let line = &buffer[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > limits.max_control_line {
        return Err(ParseError::ControlLine);
    }
    let after = end + 1;
    let verb_end = line.iter().position(|b| is_space(*b)).unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb_end);
    let mut word = [0u8; 7];
    let Some(word) = word.get_mut(..verb.len()) else { return Err(ParseError::UnknownOperation) };
    word.copy_from_slice(verb);
    word.make_ascii_uppercase();
    let operation = match &*word {
        // For a stock server these verbs are known by the space behind them.
        b"PUB" | b"HPUB" | b"SUB" | b"UNSUB" | b"CONNECT" if rest.is_empty() => {
            return Err(ParseError::UnknownOperation);
        }
        b"PUB" => return publish(buffer, rest, after, limits, false),
        b"HPUB" => return publish(buffer, rest, after, limits, true),
        b"SUB" => {
            let args = Arguments::<3>::split(rest)?;
            match *args.as_slice() {
                [subject, sid] => Operation::Subscribe { subject, queue: None, sid },
                [subject, queue, sid] => Operation::Subscribe { subject, queue: Some(queue), sid },
                _ => return Err(ParseError::Arguments),
            }
        }
        b"UNSUB" => {
            let args = Arguments::<2>::split(rest)?;
            match *args.as_slice() {
                [sid] => Operation::Unsubscribe { sid, max: None },
                // A stock server takes what is no number as none, and so ends the subscription at once.
                [sid, max] => Operation::Unsubscribe { sid, max: number(max).ok() },
                _ => return Err(ParseError::Arguments),
            }
        }
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        b"CONNECT" => Operation::Connect(rest.trim_ascii()),
        b"INFO" | b"+OK" => Operation::Ignored,
        b"-ERR" => Operation::Error,
        _ => return Err(ParseError::UnknownOperation),
    };
    Ok(Some((operation, after)))
}

fn publish<'a>(
    buffer: &'a [u8],
    arguments: &'a [u8],
    start: usize,
    limits: ParseLimits,
    with_headers: bool,
) -> Result<Option<(Operation<'a>, usize)>, ParseError> {
    let args = Arguments::<4>::split(arguments)?;
    let (subject, reply, header_len, total) = match (args.as_slice(), with_headers) {
        (&[subject, total], false) => (subject, None, 0, number(total)?),
        (&[subject, reply, total], false) => (subject, Some(reply), 0, number(total)?),
        (&[subject, headers, total], true) => (subject, None, number(headers)?, number(total)?),
        (&[subject, reply, headers, total], true) => (subject, Some(reply), number(headers)?, number(total)?),
        _ => return Err(ParseError::Arguments),
    };
    let total = usize::try_from(total).map_err(|_| ParseError::Payload)?;
    if total > limits.max_payload {
        return Err(ParseError::Payload);
    }
    let header_len = usize::try_from(header_len).map_err(|_| ParseError::Arguments)?;
    if header_len > total {
        return Err(ParseError::Arguments);
    }
    let end = start + total;
    let Some(tail) = buffer.get(end..end + 2) else {
        // A wrong first byte after the payload need not wait for the second.
        return match buffer.get(end) {
            Some(b) if *b != b'\r' => Err(ParseError::UnknownOperation),
            _ => Ok(None),
        };
    };
    if tail != b"\r\n" {
        return Err(ParseError::UnknownOperation);
    }
    let body = &buffer[start..end];
    let (headers, payload) = body.split_at(header_len);
    Ok(Some((Operation::Publish { subject, reply, headers, payload, with_headers }, end + 2)))
}

/// Up to `N` words of a line, without allocation.
struct Arguments<'a, const N: usize> {
    words: [&'a [u8]; N],
    len: usize,
}

impl<'a, const N: usize> Arguments<'a, N> {
    fn split(line: &'a [u8]) -> Result<Self, ParseError> {
        let mut words = [&line[..0]; N];
        let mut len = 0;
        for word in line.split(|b| is_space(*b)).filter(|w| !w.is_empty()) {
            *words.get_mut(len).ok_or(ParseError::Arguments)? = word;
            len += 1;
        }
        Ok(Arguments { words, len })
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        &self.words[..self.len]
    }
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn number(text: &[u8]) -> Result<u64, ParseError> {
    // Nine digits hold every size and count that a limit allows; a stock server reads no more either.
    if text.is_empty() || text.len() > 9 {
        return Err(ParseError::Arguments);
    }
    text.iter().try_fold(0u64, |sum, b| match b {
        b'0'..=b'9' => Ok(sum * 10 + u64::from(b - b'0')),
        _ => Err(ParseError::Arguments),
    })
}

/// True when no verb starts with these bytes, so that waiting for the rest of the line is of no use.
fn is_hopeless(start: &[u8]) -> bool {
    !begins_one_of(
        start,
        &[b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG", b"CONNECT", b"INFO", b"+OK", b"-ERR"],
    )
}

/// True while these bytes may become an operation that a client may send before it has logged in.
pub(crate) fn may_greet(start: &[u8]) -> bool {
    begins_one_of(start, &[b"CONNECT", b"PING", b"PONG", b"INFO", b"+OK"])
}

fn begins_one_of(start: &[u8], verbs: &[&[u8]]) -> bool {
    verbs.iter().any(|verb| {
        let n = verb.len().min(start.len());
        start[..n].eq_ignore_ascii_case(&verb[..n])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ParseLimits = ParseLimits { max_control_line: 4096, max_payload: 64 };

    fn check(input: &str, expected: Result<Option<Operation<'_>>, ParseError>) {
        let got = parse(input.as_bytes(), LIMITS);
        assert_eq!(got.map(|o| o.map(|(op, _)| op)), expected, "{input:?}");
    }

    #[test]
    fn operations() {
        check("PING\r\n", Ok(Some(Operation::Ping)));
        check("ping \n", Ok(Some(Operation::Ping)));
        check("CONNECT {}\r\n", Ok(Some(Operation::Connect(b"{}"))));
        check(
            "SUB a.b q  7\r\n",
            Ok(Some(Operation::Subscribe { subject: b"a.b", queue: Some(b"q"), sid: b"7" })),
        );
        check("UNSUB 7 3\r\n", Ok(Some(Operation::Unsubscribe { sid: b"7", max: Some(3) })));
        check("PUB a 2\r\nh", Ok(None));
        check("PUB a 2\r\nhi\r", Ok(None));
        check("PUB a 2\r\nhi\rx", Err(ParseError::UnknownOperation));
        check("PUB a 2\r\nhix", Err(ParseError::UnknownOperation));
        check("PUB a 65\r\n", Err(ParseError::Payload));
        check("PUB a 99999999999999999999\r\n", Err(ParseError::Arguments));
        check("UNSUB 7 99999999999\r\n", Ok(Some(Operation::Unsubscribe { sid: b"7", max: None })));
        check("UNSUB\r\n", Err(ParseError::UnknownOperation));
        check("PUB a -1\r\n", Err(ParseError::Arguments));
        check("PUB a\r\n", Err(ParseError::Arguments));
        check("HPUB a 5 4\r\nabcd\r\n", Err(ParseError::Arguments));
        check("GET / HTTP/1.1\r\n", Err(ParseError::UnknownOperation));
        check("X", Err(ParseError::UnknownOperation));
        check("CON", Ok(None));
        check(&format!("PUB {}", "a".repeat(5000)), Err(ParseError::ControlLine));
        check(
            "HPUB a r 0 2\r\nhi\r\n",
            Ok(Some(Operation::Publish {
                subject: b"a",
                reply: Some(b"r"),
                headers: b"",
                payload: b"hi",
                with_headers: true,
            })),
        );
    }

    proptest! {
        /// However a buffer is cut, the same operations come out, and nothing is taken too early.
        #[test]
        fn cuts_do_not_matter(parts in prop::collection::vec(prop_oneof![
            Just("PING\r\n".to_owned()),
            Just("SUB a.> 1\r\n".to_owned()),
            "[a-z]{0,20}".prop_map(|p| format!("PUB x.y r {}\r\n{p}\r\n", p.len())),
            "[a-z]{0,20}".prop_map(|p| format!("HPUB x.y 12 {}\r\nNATS/1.0\r\n\r\n{p}\r\n", p.len() + 12)),
        ], 1..6), cut in 1usize..9) {
            let whole = parts.concat().into_bytes();
            let mut seen = 0;
            let mut buffer = Vec::new();
            for chunk in whole.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Some((_, used)) = parse(&buffer, LIMITS).expect("valid input") {
                    prop_assert_eq!(&buffer[..used], parts[seen].as_bytes());
                    buffer.drain(..used);
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, parts.len());
            prop_assert!(buffer.is_empty());
        }
    }
}
