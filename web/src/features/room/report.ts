export type Problem = "browser" | "media" | "insecure";

const PROBLEMS: Record<Problem, string> = {
  browser: "this browser lacks what a meeting needs",
  media: "no media connection",
  insecure: "the address is not secure, so browsers give no camera and microphone",
};

/** What an administrator needs to know of a browser that cannot take part. No names, no tokens. */
export function report(problem: Problem): string {
  return [
    `Plenum: ${PROBLEMS[problem]}`,
    `Time: ${new Date().toISOString()}`,
    `Page: ${location.origin}`,
    `Secure context: ${isSecureContext}`,
    `Online: ${navigator.onLine}`,
    `Browser: ${navigator.userAgent}`,
    `RTCPeerConnection: ${typeof RTCPeerConnection}`,
    `WebSocket: ${typeof WebSocket}`,
    `Media devices: ${typeof navigator.mediaDevices}`,
  ].join("\n");
}
