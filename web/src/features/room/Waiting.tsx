import { type FC, useEffect, useRef } from "react";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import { MYSELF } from "../../services/media/types";
import { Button } from "../../ui/Button";
import { Logo } from "../../ui/Icon";
import { useArrival } from "../../ui/useArrival";
import { useStore } from "../../ui/useStore";
import { InputSwitches } from "../devices/InputSwitches";
import styles from "./Between.module.css";

export const Waiting: FC<{ title: string; meeting: Meeting; onLeave: () => void }> = ({
  title,
  meeting,
  onLeave,
}) => {
  const room = useStore(meeting.room);
  const trouble = useStore(meeting.trouble);
  const heading = useArrival<HTMLHeadingElement>();
  const message = room?.waitingRoom.message;
  return (
    <main className={styles.page}>
      <Logo size={40} />
      <h1 ref={heading} tabIndex={-1} className={styles.title}>
        {title}
      </h1>
      <p className={styles.text} role="status">
        {trouble.messages === null ? t("waiting.text") : t("trouble.reconnecting")}
      </p>
      {message && <blockquote className={styles.message}>{message}</blockquote>}
      <p className={styles.hint}>{t("waiting.hint")}</p>
      <OwnPicture meeting={meeting} />
      <Button onPress={onLeave}>{t("control.leave")}</Button>
    </main>
  );
};

/** What is on already is seen, and can be switched off. */
const OwnPicture: FC<{ meeting: Meeting }> = ({ meeting }) => {
  const { media } = meeting;
  const own = useStore(media.own);
  const video = useRef<HTMLVideoElement>(null);
  const isOn = own.camera === "on";
  useEffect(() => {
    if (isOn && video.current) return media.show(MYSELF, "camera", video.current);
  }, [media, isOn]);
  return (
    <div className={styles.mirror} data-scheme="dark" data-on={isOn}>
      {isOn && (
        <video
          ref={video}
          className={styles.video}
          autoPlay
          muted
          playsInline
          aria-label={t("prejoin.ownPicture")}
        />
      )}
      <div className={styles.switches}>
        <InputSwitches states={own} onToggle={(kind) => meeting.toggle(kind)} />
      </div>
    </div>
  );
};
