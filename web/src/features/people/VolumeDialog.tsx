import { type FC, useState } from "react";
import { Slider, SliderThumb, SliderTrack } from "react-aria-components";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import type { Person } from "../../meeting/people";
import { Dialog } from "../../ui/Dialog";
import styles from "./VolumeDialog.module.css";

/** How loud this participant hears another. */
export const VolumeDialog: FC<{ person: Person; meeting: Meeting; onClose: () => void }> = ({
  person,
  meeting,
  onClose,
}) => {
  const [volume, setVolume] = useState(() => Math.round(meeting.media.volumeOf(person.id) * 100));
  return (
    <Dialog title={t("person.volumeOf", { name: person.name })} isOpen onClose={onClose}>
      <Slider
        aria-label={t("person.volumeOf", { name: person.name })}
        className={styles.slider ?? ""}
        value={volume}
        minValue={0}
        maxValue={100}
        step={5}
        onChange={(value) => {
          const level = Array.isArray(value) ? (value[0] ?? 100) : value;
          setVolume(level);
          meeting.media.setVolume(person.id, level / 100);
        }}
      >
        <SliderTrack className={styles.track ?? ""}>
          <div className={styles.fill} style={{ inlineSize: `${volume}%` }} />
          <SliderThumb className={styles.thumb ?? ""} />
        </SliderTrack>
      </Slider>
    </Dialog>
  );
};
