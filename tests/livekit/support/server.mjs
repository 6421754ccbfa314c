// The real binary with a key for outside callers: rooms of theirs are no meetings.
import { networkInterfaces } from 'node:os';
import { AccessToken } from 'livekit-server-sdk';
import { launch } from '../../peers/launch.mjs';

export const KEY = 'outside';
export const SECRET = 'a-secret-of-at-least-32-characters';

/** An address of this machine that other machines see, for clients that leave loopback out. */
export const publicAddress = () => Object.values(networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

/** A running server, with further configuration by `env`; `stop()` drains it. */
export async function startServer(env = {}, host = undefined) {
  const server = await launch({ broker: 'own', media: 'own', host, env: { PLENUM_MEDIA__KEYS: `${KEY}: ${SECRET}`, PLENUM_METRICS__TOKEN: SECRET, ...env } });
  return {
    url: server.url.replace('http', 'ws'),
    http: server.url,
    udp: Number(server.settings.PLENUM_MEDIA__UDP_PORT),
    tcp: Number(server.settings.PLENUM_MEDIA__TCP_PORT),
    logs: () => server.logs(),
    /** The sum of all series of that metric whose labels include these. */
    metric: async (name, labels = {}) => {
      const text = await (await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${SECRET}` } })).text();
      const series = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      const meant = series.filter((line) => Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)));
      return meant.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
    stop: () => server.close(),
  };
}

/** A token that lets `identity` join `room`. */
export async function token(room, identity, grant = {}, options = {}) {
  const access = new AccessToken(KEY, SECRET, { identity, ttl: 600, ...options });
  access.addGrant({ roomJoin: true, room, ...grant });
  return access.toJwt();
}
