import { type FC, useEffect, useRef } from "react";
import { preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import type { View } from "../../meeting/view";
import type { DeviceTrouble, Source } from "../../services/media/types";
import { Button, IconButton } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { useMedia } from "../../ui/useMedia";
import { useStore } from "../../ui/useStore";
import { deviceHelp } from "../devices/help";
import { useSeconds } from "./Clock";
import { CopyReport } from "./CopyReport";
import styles from "./TroubleBanner.module.css";
import { useLasting } from "./useLasting";

/** What is wrong at the moment, as a state: it goes when the trouble goes. */
export const TroubleBanner: FC<{ meeting: Meeting; view: View }> = ({ meeting, view }) => {
  const trouble = useStore(meeting.trouble);
  const devices = useStore(meeting.deviceTrouble);
  const soundBlocked = useStore(meeting.media.soundBlocked);
  const speaksMuted = useStore(view.speaksMuted);
  const isSilent = useStore(view.isSilent);
  const hasKeyboard = useMedia("(pointer: fine)");
  const hasKeys = useStore(preferences).shortcuts && hasKeyboard;
  const { messages, media, mediaBlocked } = trouble;
  const isBlocked = mediaBlocked && messages === null;
  const since = Math.min(messages ?? Number.POSITIVE_INFINITY, media ?? Number.POSITIVE_INFINITY);
  const isAway = useLasting(Number.isFinite(since) ? since : null);
  useBack(view, isAway);
  return (
    <div className={styles.banners}>
      {isBlocked ? <Blocked /> : isAway && <Reconnecting since={since} isMediaThere={media === null} />}
      {soundBlocked && !isAway && (
        <Button
          tone="primary"
          size="large"
          icon="speaker"
          onPress={() =>
            void meeting.media.allowSound().catch(() => view.tell(t("trouble.soundFailed"), "error"))
          }
        >
          {t("trouble.soundOn")}
        </Button>
      )}
      {(Object.entries(devices) as [Source, DeviceTrouble][]).map(([source, what]) => (
        <Device key={source} source={source} trouble={what} meeting={meeting} />
      ))}
      {isSilent && !devices.microphone && (
        <p className={styles.banner} data-tone="warning" role="status">
          <Icon name="microphoneOff" />
          <span>{t("trouble.silent")}</span>
        </p>
      )}
      {speaksMuted && (
        <p className={styles.banner} role="status">
          <Icon name="microphoneOff" />
          <span>{t(hasKeys ? "trouble.speaksMutedKeys" : "trouble.speaksMuted")}</span>
        </p>
      )}
    </div>
  );
};

/** That it is over is said too. */
function useBack(view: View, isAway: boolean): void {
  const wasAway = useRef(false);
  useEffect(() => {
    if (wasAway.current && !isAway) view.tell(t("trouble.back"), "info");
    wasAway.current = isAway;
  }, [view, isAway]);
}

const Reconnecting: FC<{ since: number; isMediaThere: boolean }> = ({ since, isMediaThere }) => {
  const lasted = useSeconds() - since;
  return (
    <div className={styles.banner} data-tone="warning">
      <Icon name="retry" />
      <span>
        {/* The seconds are for the eye; read out once is enough. */}
        <span role="status">{t("trouble.reconnecting")}</span>{" "}
        <span className={styles.seconds} aria-hidden="true">
          {t("trouble.seconds", { count: Math.max(0, Math.floor(lasted / 1000)) })}
        </span>
        {isMediaThere && <span className={styles.more}>{t("trouble.messagesBehind")}</span>}
      </span>
    </div>
  );
};

const Blocked: FC = () => (
  <div className={styles.banner} data-tone="warning" role="alert">
    <Icon name="alert" />
    <div className={styles.content}>
      <span>{t("trouble.blocked")}</span>
      <CopyReport problem="media" />
    </div>
  </div>
);

const Device: FC<{ source: Source; trouble: DeviceTrouble; meeting: Meeting }> = ({
  source,
  trouble,
  meeting,
}) => {
  const text = deviceHelp(source, trouble);
  return (
    // Read out by the notices already.
    <section className={styles.banner} data-tone="warning" aria-label={t(`trouble.device.${source}`)}>
      <Icon name="alert" />
      <div className={styles.content}>
        <span>{text}</span>
        {trouble !== "insecure" && (
          <Button size="small" onPress={() => void meeting.switch(source, true)}>
            {t("common.tryAgain")}
          </Button>
        )}
      </div>
      <IconButton
        label={t("common.dismiss")}
        icon="close"
        size="small"
        onPress={() => meeting.dismissTrouble(source)}
      />
    </section>
  );
};
