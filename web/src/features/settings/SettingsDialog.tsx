import { type FC, useEffect, useState } from "react";
import { type Preferences, prefer, preferences } from "../../app/preferences";
import { type Key, t } from "../../i18n";
import type { DeviceInfo, Devices } from "../../services/devices/types";
import { Dialog } from "../../ui/Dialog";
import { Select } from "../../ui/Select";
import { Switch } from "../../ui/Switch";
import { useStore } from "../../ui/useStore";
import styles from "./Settings.module.css";

interface SettingsDialogProps {
  devices: Devices;
  isOpen: boolean;
  onClose: () => void;
}

export const SettingsDialog: FC<SettingsDialogProps> = ({ devices, isOpen, onClose }) => (
  <Dialog title={t("settings.title")} isOpen={isOpen} onClose={onClose}>
    <DeviceChoices devices={devices} />
    <Choice
      label={t("settings.quality")}
      name="quality"
      options={[
        ["high", "settings.qualityHigh"],
        ["standard", "settings.qualityStandard"],
      ]}
    />
    <Choice
      label={t("settings.tiles")}
      name="tiles"
      options={[
        ["9", "settings.tiles9"],
        ["25", "settings.tiles25"],
      ]}
    />
    <Choice
      label={t("settings.theme")}
      name="theme"
      options={[
        ["system", "settings.themeSystem"],
        ["light", "settings.themeLight"],
        ["dark", "settings.themeDark"],
      ]}
    />
    <OnOff name="announce" />
    <OnOff name="shortcuts" />
  </Dialog>
);

const Choice: FC<{
  label: string;
  name: "quality" | "tiles" | "theme";
  options: readonly (readonly [string, Key])[];
}> = ({ label, name, options }) => {
  const now = useStore(preferences);
  return (
    <div className={styles.row}>
      <span className={styles.label}>{label}</span>
      <Select
        label={label}
        value={String(now[name])}
        options={options.map(([id, key]) => ({ id, label: t(key) }))}
        onChange={(id) => prefer({ [name]: name === "tiles" ? Number(id) : id } as Partial<Preferences>)}
      />
    </div>
  );
};

const OnOff: FC<{ name: "announce" | "shortcuts" }> = ({ name }) => (
  <Switch
    isSelected={useStore(preferences)[name]}
    onChange={(on) => prefer({ [name]: on })}
    hint={t(`settings.${name}Hint`)}
  >
    {t(`settings.${name}`)}
  </Switch>
);

const DeviceChoices: FC<{ devices: Devices }> = ({ devices }) => {
  const now = useStore(preferences);
  const [list, setList] = useState<readonly DeviceInfo[]>([]);
  useEffect(() => {
    const load = () => void devices.list().then(setList, () => undefined);
    load();
    return devices.onChange(load);
  }, [devices]);
  return (["microphone", "camera", "speaker"] as const).map((kind) => {
    const options = deviceOptions(list, kind);
    if (options.length === 0 || (kind === "speaker" && !devices.canChooseSpeaker)) return null;
    return (
      <div key={kind} className={styles.row}>
        <span className={styles.label}>{t(`device.${kind}`)}</span>
        <Select
          label={t(`device.choose.${kind}`)}
          value={options.some(({ id }) => id === now[kind]) ? now[kind] : (options[0]?.id ?? "")}
          options={options}
          onChange={(id) => prefer({ [kind]: id })}
        />
      </div>
    );
  });
};

/** What can be chosen, named so that a person knows it. */
export function deviceOptions(list: readonly DeviceInfo[], kind: DeviceInfo["kind"]) {
  return list
    .filter((device) => device.kind === kind)
    .map(({ id, label }, index) => ({
      id,
      label: label || t(`device.unnamed.${kind}`, { number: index + 1 }),
    }));
}
