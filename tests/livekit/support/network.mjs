// How browsers get through to the server.

/** How each connection of `tab` goes: the kind of its own candidate, and by what protocol it or the relay is reached, unless that is plain UDP. */
export const ways = (tab) =>
  tab.evaluate(async () => {
    const used = [];
    for (const transport of [room.engine.pcManager.publisher, room.engine.pcManager.subscriber].filter(Boolean)) {
      const report = await transport.getStats();
      const stats = [...report.values()];
      const selected = stats.filter(({ type }) => type === 'transport').map((stat) => stat.selectedCandidatePairId);
      // Firefox has no statistics of transports and marks the pair.
      for (const pair of stats.filter(({ type, id, selected: is }) => type === 'candidate-pair' && (is || selected.includes(id)))) {
        const { candidateType, protocol, relayProtocol } = report.get(pair.localCandidateId);
        used.push([candidateType, relayProtocol ?? (protocol === 'tcp' && protocol)].filter(Boolean).join(' '));
      }
    }
    return [...new Set(used)];
  });

/** Takes ways to the relay away, as a firewall would. */
export const only = (transport) => ({
  with: transport,
  run: (transport) => {
    const keep = (configuration) => ({
      ...configuration,
      iceServers: configuration?.iceServers?.map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => url.includes(transport)) })),
    });
    const Original = RTCPeerConnection;
    window.RTCPeerConnection = class extends Original {
      constructor(configuration) {
        super(keep(configuration));
      }
      setConfiguration(configuration) {
        super.setConfiguration(keep(configuration));
      }
    };
  },
});

/** Leaves out what the server says of UDP. */
export const tcpOnly = {
  run: () => {
    const set = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      const lines = sdp.split('\r\n').filter((line) => !/^a=candidate:\S+ \d+ udp /i.test(line));
      return set.call(this, { type, sdp: lines.join('\r\n') });
    };
  },
};
