import type { FC } from "react";
import styles from "./Seats.module.css";

const ROWS = 6;
const CENTRE = { x: 300, y: 300 };

/** A house full of seats, some taken: for the eye only. */
export const Seats: FC = () => (
  <svg className={styles.seats} viewBox="0 0 600 330" aria-hidden="true" focusable="false">
    {SEATS.map(({ key, x, y, taken }) => (
      <circle key={key} cx={x} cy={y} r={taken ? 10 : 8.5} data-taken={taken} />
    ))}
  </svg>
);

const SEATS = Array.from({ length: ROWS }, (_, row) => {
  const radius = 90 + row * 38;
  const count = 9 + row * 4;
  return Array.from({ length: count }, (_, seat) => {
    const angle = Math.PI * (1 + seat / (count - 1));
    return {
      key: `${row}.${seat}`,
      x: CENTRE.x + radius * Math.cos(angle),
      y: CENTRE.y + radius * Math.sin(angle),
      // Looks scattered, is always the same.
      taken: Math.abs(Math.sin(row * 12.9898 + seat * 78.233) * 43758.5453) % 1 < 0.13,
    };
  });
}).flat();
