import { type FC, memo, useEffect, useRef } from "react";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import type { Person } from "../../meeting/people";
import type { Tile as TileState } from "../../meeting/stage";
import type { View } from "../../meeting/view";
import type { VideoSource } from "../../services/media/types";
import { Avatar } from "../../ui/Avatar";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { useStore } from "../../ui/useStore";
import { PersonMenu } from "../people/PersonMenu";
import styles from "./Tile.module.css";

interface TileProps {
  tile: TileState;
  person: Person;
  meeting: Meeting;
  view: View;
}

/** One person, or their screen. Draws again only when they change. */
export const Tile: FC<TileProps> = memo(({ tile, person, meeting, view }) => {
  const isScreen = tile.source === "screen";
  const hasPicture = isScreen ? person.screen : person.camera;
  const label = isScreen ? t("stage.screenOf", { name: person.name }) : person.name;
  const pin = useStore(view.pin);
  const isPinned = pin?.id === tile.id && pin.source === tile.source;
  return (
    <figure
      className={styles.tile}
      aria-label={label}
      data-participant={person.id}
      data-source={tile.source}
      data-speaking={!isScreen && person.speaking && person.microphone === "on"}
    >
      {isScreen && person.isMe ? (
        // The own screen in itself would never end.
        <div className={styles.face}>
          <div className={styles.mine}>
            <p>{t("stage.youShare")}</p>
            <Button onPress={() => void meeting.switch("screen", false)}>{t("control.screenOff")}</Button>
          </div>
        </div>
      ) : hasPicture ? (
        <Video
          meeting={meeting}
          id={tile.id}
          source={tile.source}
          isMirrored={person.isMe && !isScreen}
          label={t("stage.pictureOf", { name: label })}
        />
      ) : (
        <div className={styles.face}>
          <Avatar id={person.id} name={person.name} size="fill" />
        </div>
      )}
      <figcaption className={styles.caption}>
        {!isScreen && person.microphone !== "on" && (
          <span className={styles.sign} role="img" aria-label={t("person.muted")}>
            <Icon name="microphoneOff" size={16} />
          </span>
        )}
        {isScreen && <Icon name="screen" size={16} />}
        <span className={styles.name}>{person.isMe ? t("person.you", { name: label }) : label}</span>
        {isPinned && (
          <span className={styles.sign} role="img" aria-label={t("person.pinned")}>
            <Icon name="pin" size={16} />
          </span>
        )}
      </figcaption>
      <div className={styles.signs}>
        {!isScreen && person.handRaisedAt !== null && (
          <span className={styles.hand} role="img" aria-label={t("person.handRaised")}>
            <Icon name="hand" size={18} />
          </span>
        )}
        {(person.away || person.quality === "poor" || person.quality === "lost") && (
          <span className={styles.weak}>
            <Icon name="weak" size={16} />
            {t(person.away || person.quality === "lost" ? "person.away" : "person.weak")}
          </span>
        )}
      </div>
      <div className={styles.menu}>
        <PersonMenu person={person} source={tile.source} meeting={meeting} view={view} />
      </div>
    </figure>
  );
});

const Video: FC<{
  meeting: Meeting;
  id: string;
  source: VideoSource;
  isMirrored: boolean;
  label: string;
}> = ({ meeting, id, source, isMirrored, label }) => {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (element.current) return meeting.media.show(id, source, element.current);
  }, [meeting, id, source]);
  return (
    <video
      ref={element}
      className={styles.video}
      data-source={source}
      data-mirrored={isMirrored}
      autoPlay
      muted
      playsInline
      aria-label={label}
    />
  );
};
