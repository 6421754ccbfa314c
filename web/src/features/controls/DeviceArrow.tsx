import { type FC, useState } from "react";
import { Button as AriaButton } from "react-aria-components";
import { prefer, preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { DeviceInfo, Devices } from "../../services/devices/types";
import { Icon } from "../../ui/Icon";
import { Menu, MenuGroup, MenuItem } from "../../ui/Menu";
import { useStore } from "../../ui/useStore";
import { deviceOptions } from "../settings/SettingsDialog";
import styles from "./ControlBar.module.css";

interface DeviceArrowProps {
  label: string;
  kinds: readonly DeviceInfo["kind"][];
  devices: Devices;
}

/** The small arrow beside a device button. What is chosen here is used at once. */
export const DeviceArrow: FC<DeviceArrowProps> = ({ label, kinds, devices }) => {
  const [list, setList] = useState<readonly DeviceInfo[]>([]);
  const now = useStore(preferences);
  return (
    <Menu
      label={label}
      placement="top"
      onOpenChange={(isOpen) => {
        if (isOpen) void devices.list().then(setList, () => undefined);
      }}
      trigger={
        <AriaButton className={styles.arrow ?? ""} aria-label={label}>
          <Icon name="up" size={16} />
        </AriaButton>
      }
    >
      {kinds.map((kind) => {
        const options = deviceOptions(list, kind);
        if (kind === "speaker" && !devices.canChooseSpeaker) return null;
        const chosen = options.some(({ id }) => id === now[kind]) ? now[kind] : options[0]?.id;
        return (
          <MenuGroup key={kind} title={t(`device.${kind}`)}>
            {options.length === 0 && <MenuItem isDisabled>{t("device.none")}</MenuItem>}
            {options.map(({ id, label: name }) => (
              <MenuItem
                key={id}
                id={`${kind} ${id}`}
                checked={id === chosen}
                onAction={() => prefer({ [kind]: id })}
              >
                {name}
              </MenuItem>
            ))}
          </MenuGroup>
        );
      })}
    </Menu>
  );
};
