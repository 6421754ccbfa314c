import { type FC, useEffect, useState } from "react";
import { t } from "../../i18n";
import styles from "./RoomScreen.module.css";

/** How long the meeting has lasted. */
export const Clock: FC<{ since: number; minutes: number | null }> = ({ since, minutes: limit }) => {
  const now = useSeconds();
  const seconds = Math.max(0, Math.floor((now - since) / 1000));
  const hours = Math.floor(seconds / 3600);
  const pad = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60) % 60;
  const text =
    hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
  return (
    <span className={styles.clock}>
      <span role="timer" aria-label={t("room.lasted", { time: text })} aria-live="off">
        {text}
      </span>
      {limit !== null && <span> {t("room.limit", { minutes: limit })}</span>}
    </span>
  );
};

/** The time, once a second. */
export function useSeconds(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
