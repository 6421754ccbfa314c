//! Single bits, most significant first, for the dependency descriptor.

/// Reads bits; every read says whether there were enough.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that were read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bits, 32 at most.
    pub(super) fn read(&mut self, count: usize) -> Option<u32> {
        debug_assert!(count <= 32);
        if self.at + count > self.bytes.len() * 8 {
            return None;
        }
        let mut value = 0;
        for _ in 0..count {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// As [`BitReader::read`], for values of a byte at most.
    pub(super) fn byte(&mut self, count: usize) -> Option<u8> {
        debug_assert!(count <= 8);
        self.read(count).map(|value| value as u8)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    /// A number below `n`, in as few bits as it needs: `ns(n)` of the AV1 specification, §4.10.7.
    pub(super) fn below(&mut self, n: u32) -> Option<u32> {
        let width = n.checked_ilog2()? as usize + 1;
        let short = (1u32 << width) - n;
        let value = self.read(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.read(1)?)
    }
}

/// Appends bits to bytes; the last byte is filled up with zeros.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    to: &'a mut Vec<u8>,
    /// Bits of the last byte that are used.
    used: usize,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(to: &'a mut Vec<u8>) -> Self {
        Self { to, used: 8 }
    }

    /// Appends the lowest `count` bits of `value`, 32 at most.
    pub(super) fn write(&mut self, value: u32, count: usize) {
        debug_assert!(count <= 32);
        for shift in (0..count).rev() {
            if self.used == 8 {
                self.to.push(0);
                self.used = 0;
            }
            if let Some(last) = self.to.last_mut() {
                *last |= ((value >> shift & 1) as u8) << (7 - self.used);
            }
            self.used += 1;
        }
    }

    /// Appends the bits from `from` to `to` of `bytes`, as they are.
    pub(super) fn copy(&mut self, bytes: &[u8], from: usize, to: usize) {
        let mut reader = BitReader { bytes, at: from };
        let mut left = to.saturating_sub(from);
        while left > 0 {
            let count = left.min(32);
            let Some(value) = reader.read(count) else { return };
            self.write(value, count);
            left -= count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_as_they_were_written() {
        let mut bytes = vec![0xff];
        let mut writer = BitWriter::new(&mut bytes);
        writer.write(0b101, 3);
        writer.write(0xabcd, 16);
        writer.copy(&[0b0001_1110, 0b1100_0000], 3, 10);
        assert_eq!(bytes, [0xff, 0xb5, 0x79, 0b1011_1110, 0b1100_0000]);
        let mut reader = BitReader::new(&bytes[1..]);
        assert_eq!(
            (reader.read(3), reader.read(16), reader.read(7)),
            (Some(5), Some(0xabcd), Some(0b111_1011))
        );
        assert_eq!(reader.read(7), None, "only six are left");
        assert_eq!((reader.position(), reader.byte(6)), (26, Some(0)));
    }

    /// The example of the AV1 specification: numbers below five.
    #[test]
    fn small_numbers_take_few_bits() {
        for (bits, value) in [(0b00, 0), (0b01, 1), (0b10, 2)] {
            assert_eq!(BitReader::new(&[bits << 6]).below(5), Some(value));
        }
        assert_eq!(BitReader::new(&[0b110 << 5]).below(5), Some(3));
        assert_eq!(BitReader::new(&[0b111 << 5]).below(5), Some(4));
        assert_eq!(BitReader::new(&[]).below(1), Some(0), "needs no bit at all");
        assert_eq!(BitReader::new(&[0]).below(0), None);
    }
}
