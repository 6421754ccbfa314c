//! What a media thread counts: plain numbers beside the way of a packet, taken out now and then.

/// Packets and their bytes, as they are on the wire above UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Flow {
    /// Another packet.
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// Media that went to subscribers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// For the first time.
    pub first: Flow,
    /// Again.
    pub repeated: Flow,
    /// Only to find out what a connection carries.
    pub padding: Flow,
}

/// All that was counted since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets of publishers; their bytes are those of the payload.
    pub received: Flow,
    /// Packets of publishers that send more than they may.
    pub over_limit: u64,
    /// To subscribers.
    pub sent: Sent,
    /// Packets that subscribers asked for again.
    pub missed: u64,
    /// Packets that publishers were asked for again.
    pub asked: u64,
    /// Key frames that subscribers asked for by themselves.
    pub keyframes_wanted: u64,
    /// Requests for key frames to publishers.
    pub keyframes_asked: u64,
    /// Connections that are not there though they should be for long.
    pub stuck: Stuck,
}

/// Connections by what they lack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stuck {
    /// Nothing has come from the client.
    pub ice: u64,
    /// The handshake does not end.
    pub dtls: u64,
}
