//! Header blocks: `NATS/1.0`, lines of `Name: value`, a blank line.

/// The first line of every block.
pub(crate) const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";

/// The value of the first field called `name`, with its case, trimmed.
pub(crate) fn get<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields(block).find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
}

/// Like [`get`], for values that must be text.
pub(crate) fn get_str<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    get(block, name).and_then(|value| std::str::from_utf8(value).ok())
}

/// All fields in order. Lines without a colon are skipped.
pub(crate) fn fields(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block.split(|b| *b == b'\n').skip(1).filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// The block with further fields at its end. An empty block becomes one.
pub(crate) fn with_fields(block: &[u8], fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 32 * (fields.len() + 1));
    match block.strip_suffix(b"\r\n") {
        // The blank line goes, and comes back after the new fields.
        Some(body) if body.ends_with(b"\r\n") => out.extend_from_slice(body),
        _ => out.extend_from_slice(VERSION_LINE),
    }
    for (name, value) in fields {
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The block without a status on its first line, as a stream keeps it.
pub(crate) fn without_status(block: &[u8]) -> Vec<u8> {
    match memchr::memchr(b'\n', block) {
        Some(end) if block.starts_with(b"NATS/1.0") && &block[..=end] != VERSION_LINE => {
            [VERSION_LINE, &block[end + 1..]].concat()
        }
        _ => block.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_adding() {
        let block = b"NATS/1.0\r\nA: 1 \r\nb:2\r\n\r\n";
        assert_eq!(get_str(block, "A"), Some("1"));
        assert_eq!(get_str(block, "b"), Some("2"));
        assert_eq!(get(block, "B"), None);
        assert_eq!(with_fields(b"", &[("X", "y")]), b"NATS/1.0\r\nX: y\r\n\r\n");
        assert_eq!(with_fields(block, &[("X", "y")]), b"NATS/1.0\r\nA: 1 \r\nb:2\r\nX: y\r\n\r\n");
        assert_eq!(without_status(b"NATS/1.0 503\r\nA: 1\r\n\r\n"), b"NATS/1.0\r\nA: 1\r\n\r\n");
        assert_eq!(get(b"garbage", "A"), None);
    }
}
