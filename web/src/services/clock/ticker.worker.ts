/** Tells the page each time that `ms` have passed: browsers slow down the timers of a page nobody looks at, not these. */
self.onmessage = ({ data: ms }: MessageEvent<number>) => {
  setInterval(() => self.postMessage(null), ms);
};
