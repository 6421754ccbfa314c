// A client that only speaks signalling, and says what no SDK would.
import http from 'node:http';
import { SignalRequest, SignalResponse } from '@livekit/protocol';
import { WebSocket } from 'ws';

/** A signal connection that keeps what it hears; `closed` tells how it ended. */
export class SignalClient {
  heard = [];
  #waiting = [];

  constructor(url, access, query = {}) {
    const parameters = new URLSearchParams({ access_token: access, protocol: '17', sdk: 'js', version: '2.23.0', ...query });
    this.socket = new WebSocket(`${url}/rtc?${parameters}`);
    this.closed = new Promise((resolve) => this.socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })));
    this.socket.on('error', () => {});
    this.socket.on('message', (data, isBinary) => {
      const { message } = isBinary ? SignalResponse.fromBinary(new Uint8Array(data)) : SignalResponse.fromJsonString(String(data));
      this.heard.push(message);
      this.#waiting.forEach((look) => look());
    });
  }

  /** The first message of this kind that fits, heard before or later. */
  hears(kind, fits = () => true, seconds = 30) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${kind} within ${seconds} s; heard ${this.kinds()}`)), seconds * 1000);
      const look = () => {
        const found = this.heard.find((message) => message.case === kind && fits(message.value));
        if (!found) return;
        clearTimeout(timer);
        resolve(found.value);
      };
      this.#waiting.push(look);
      look();
    });
  }

  kinds() {
    return this.heard.map((message) => message.case);
  }

  say(message) {
    this.socket.send(new SignalRequest({ message }).toBinary());
  }

  send(frame) {
    this.socket.send(frame);
  }

  /** Waits until the server has dealt with everything said before. */
  async settle() {
    const timestamp = BigInt(this.heard.length + 1) << 32n;
    this.say({ case: 'pingReq', value: { timestamp } });
    await this.hears('pongResp', (pong) => pong.lastPingTimestamp === timestamp);
  }

  close() {
    this.socket.close();
    return this.closed;
  }
}

/** The answer to an attempt to open a WebSocket: status and text, or 101. */
export function upgrade(url, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url.replace('ws:', 'http:'), {
      headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', ...headers },
    });
    request.on('upgrade', (_, socket) => {
      socket.destroy();
      resolve({ status: 101 });
    });
    request.on('response', async (answer) => {
      let text = '';
      for await (const part of answer) text += part;
      resolve({ status: answer.statusCode, text });
    });
    request.on('error', reject);
    request.end();
  });
}
