//! Writes what clients read.

use std::io::Write as _;

/// Appends one `MSG` or `HMSG`. `headers` is a whole header block, or empty.
pub(crate) fn message(
    out: &mut Vec<u8>,
    subject: &str,
    sid: &[u8],
    reply: Option<&str>,
    headers: &[u8],
    payload: &[u8],
) {
    out.extend_from_slice(if headers.is_empty() { b"MSG " } else { b"HMSG " });
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply.as_bytes());
        out.push(b' ');
    }
    if !headers.is_empty() {
        decimal(out, headers.len());
        out.push(b' ');
    }
    decimal(out, headers.len() + payload.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// A header block with a status line and further fields.
pub(crate) fn status_headers(code: u16, text: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    // Writing to a vector cannot fail.
    let _ = write!(block, "NATS/1.0 {code}");
    if !text.is_empty() {
        let _ = write!(block, " {text}");
    }
    block.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        let _ = write!(block, "{name}: {value}\r\n");
    }
    block.extend_from_slice(b"\r\n");
    block
}

fn decimal(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_clients_read_them() {
        let mut out = Vec::new();
        message(&mut out, "a.b", b"7", None, b"", b"hi");
        message(&mut out, "a.b", b"7", Some("r"), b"NATS/1.0\r\n\r\n", b"hi");
        assert_eq!(out, b"MSG a.b 7 2\r\nhi\r\nHMSG a.b 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!(
            status_headers(503, "", &[("Nats-Subject", "x")]),
            b"NATS/1.0 503\r\nNats-Subject: x\r\n\r\n"
        );
    }
}
