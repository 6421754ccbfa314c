import type { VideoSource } from "../src/services/media/types";

/** Draws something like a person before a wall, or something like a slide, into a video element. */
export function picture(id: string, source: VideoSource, element: HTMLVideoElement): () => void {
  const canvas = document.createElement("canvas");
  const isScreen = source === "screen";
  canvas.width = isScreen ? 1280 : 640;
  canvas.height = isScreen ? 720 : 360;
  const brush = canvas.getContext("2d");
  if (!brush) return () => undefined;
  if (isScreen) slide(brush);
  else person(brush, seed(id));
  element.srcObject = canvas.captureStream(2);
  void element.play().catch(() => undefined);
  return () => {
    element.srcObject = null;
  };
}

export function cameraTrack(): MediaStreamTrack {
  const canvas = document.createElement("canvas");
  canvas.width = 1280;
  canvas.height = 720;
  const brush = canvas.getContext("2d");
  if (brush) {
    brush.scale(2, 2);
    person(brush, 5);
  }
  const track = canvas.captureStream(2).getVideoTracks()[0];
  if (!track) throw new Error("a canvas has a picture");
  return track;
}

function seed(id: string): number {
  return [...id].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) % 997, 7);
}

function person(brush: CanvasRenderingContext2D, number: number): void {
  const hue = (number * 47) % 360;
  const wall = brush.createLinearGradient(0, 0, 640, 360);
  wall.addColorStop(0, `hsl(${hue} 18% 62%)`);
  wall.addColorStop(1, `hsl(${(hue + 30) % 360} 22% 38%)`);
  brush.fillStyle = wall;
  brush.fillRect(0, 0, 640, 360);
  brush.fillStyle = `hsl(${hue} 24% 78% / 0.5)`;
  brush.fillRect(40 + (number % 5) * 90, 30, 120, 150);
  const x = 290 + (number % 7) * 10;
  const skin = ["#f1c9a5", "#c68863", "#8d5524", "#e0ac69", "#ffdbac"][number % 5] ?? "#e0ac69";
  brush.fillStyle = `hsl(${(hue + 180) % 360} 35% ${25 + (number % 4) * 10}%)`;
  brush.beginPath();
  brush.ellipse(x, 400, 170, 150, 0, 0, Math.PI * 2);
  brush.fill();
  brush.fillStyle = skin;
  brush.fillRect(x - 26, 210, 52, 60);
  brush.beginPath();
  brush.ellipse(x, 170, 66, 82, 0, 0, Math.PI * 2);
  brush.fill();
  brush.fillStyle = `hsl(${(number * 13) % 50} 40% ${12 + (number % 3) * 14}%)`;
  brush.beginPath();
  brush.ellipse(x, 122, 72, 48, 0, Math.PI, 0);
  brush.fill();
  brush.fillStyle = "#2a2320";
  for (const side of [-24, 24]) {
    brush.beginPath();
    brush.arc(x + side, 168, 5, 0, Math.PI * 2);
    brush.fill();
  }
  brush.strokeStyle = "#7a3b2e";
  brush.lineWidth = 4;
  brush.beginPath();
  brush.arc(x, 190, 24, 0.3, Math.PI - 0.3);
  brush.stroke();
}

function slide(brush: CanvasRenderingContext2D): void {
  brush.fillStyle = "#ffffff";
  brush.fillRect(0, 0, 1280, 720);
  brush.fillStyle = "#123b34";
  brush.font = "600 64px system-ui";
  brush.fillText("Where the water goes", 90, 150);
  brush.fillStyle = "#50605c";
  brush.font = "32px system-ui";
  for (const [index, line] of ["Rain", "Snow in the mountains", "What we drink"].entries()) {
    brush.fillText(`•  ${line}`, 100, 250 + index * 64);
  }
  const heights = [120, 210, 170, 290, 240, 330];
  heights.forEach((height, index) => {
    brush.fillStyle = index === 5 ? "#0b6758" : "#b9d6cf";
    brush.fillRect(700 + index * 82, 620 - height, 58, height);
  });
}
