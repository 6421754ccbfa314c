import { type FC, useState } from "react";
import { prefer, preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { InputState, Preview } from "../../meeting/preview";
import type { Devices, InputKind } from "../../services/devices/types";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { Select } from "../../ui/Select";
import { useStore } from "../../ui/useStore";
import { deviceHelp } from "../devices/help";
import { deviceOptions } from "../settings/SettingsDialog";
import styles from "./DevicePanel.module.css";

/** Which devices, whether they work, and what to do if not. */
export const DevicePanel: FC<{ preview: Preview; devices: Devices }> = ({ preview, devices }) => {
  const microphone = useStore(preview.inputs.microphone);
  const camera = useStore(preview.inputs.camera);
  return (
    <div className={styles.panel}>
      <Troubles microphone={microphone} camera={camera} preview={preview} />
      <DeviceRow kind="microphone" preview={preview} input={microphone} />
      {microphone.name === "on" && <MeterBar preview={preview} />}
      <DeviceRow kind="camera" preview={preview} input={camera} />
      <SpeakerRow preview={preview} devices={devices} />
    </div>
  );
};

const DeviceRow: FC<{ kind: InputKind; preview: Preview; input: InputState }> = ({
  kind,
  preview,
  input,
}) => {
  const options = deviceOptions(useStore(preview.devices), kind);
  const chosen = useStore(preferences)[kind];
  const actual = input.name === "on" ? input.track.getSettings().deviceId : undefined;
  if (options.length === 0) return null;
  const value =
    [actual, chosen].find((id) => options.some((option) => option.id === id)) ?? options[0]?.id ?? "";
  return (
    <Select
      label={t(`device.choose.${kind}`)}
      icon={kind}
      value={value}
      options={options}
      onChange={(id) => {
        prefer({ [kind]: id });
        preview.choose(kind, id);
      }}
    />
  );
};

const SpeakerRow: FC<{ preview: Preview; devices: Devices }> = ({ preview, devices }) => {
  const options = deviceOptions(useStore(preview.devices), "speaker");
  const { speaker } = useStore(preferences);
  const [isPlaying, setPlaying] = useState(false);
  const value = options.some(({ id }) => id === speaker) ? speaker : (options[0]?.id ?? "");
  const test = async () => {
    setPlaying(true);
    await devices.testSpeaker(value || undefined).catch(() => undefined);
    setPlaying(false);
  };
  return (
    <div className={styles.speaker}>
      {devices.canChooseSpeaker && options.length > 0 && (
        <Select
          label={t("device.choose.speaker")}
          icon="speaker"
          value={value}
          options={options}
          onChange={(id) => prefer({ speaker: id })}
        />
      )}
      <Button tone="quiet" onPress={() => void test()} isDisabled={isPlaying}>
        {isPlaying ? t("device.testing") : t("device.test")}
      </Button>
    </div>
  );
};

const SEGMENTS = 24;

const MeterBar: FC<{ preview: Preview }> = ({ preview }) => {
  const lit = Math.round(useStore(preview.level) * SEGMENTS);
  return (
    // biome-ignore lint/a11y/useSemanticElements: browsers let nobody style the segments of a <meter>.
    <div
      className={styles.meter}
      role="meter"
      aria-label={t("device.level")}
      aria-valuemin={0}
      aria-valuemax={SEGMENTS}
      aria-valuenow={lit}
    >
      {Array.from({ length: SEGMENTS }, (_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: segments have nothing but their place.
        <i key={index} data-lit={index < lit} />
      ))}
    </div>
  );
};

/** One box however many devices fail: the fix is mostly the same. */
const Troubles: FC<{ microphone: InputState; camera: InputState; preview: Preview }> = ({
  microphone,
  camera,
  preview,
}) => {
  const failed = Object.entries({ microphone, camera }).flatMap(([kind, input]) =>
    input.name === "trouble" ? [{ kind: kind as InputKind, trouble: input.trouble }] : [],
  );
  const [first, second] = failed;
  // On an insecure address the page says so itself.
  if (!first || !isSecureContext) return null;
  const words =
    first.trouble === second?.trouble
      ? [deviceHelp("both", first.trouble)]
      : failed.map(({ kind, trouble }) => deviceHelp(kind, trouble));
  return (
    <div className={styles.trouble} role="status">
      <Icon name="alert" />
      <div>
        {words.map((text) => (
          <p key={text}>{text}</p>
        ))}
        <p className={styles.anyway}>{t("device.anyway")}</p>
        <Button
          size="small"
          onPress={() => {
            for (const { kind } of failed) preview.switch(kind, true);
          }}
        >
          {t("common.tryAgain")}
        </Button>
      </div>
    </div>
  );
};
