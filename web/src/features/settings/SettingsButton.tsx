import { type FC, useState } from "react";
import { t } from "../../i18n";
import type { Devices } from "../../services/devices/types";
import { IconButton } from "../../ui/Button";
import { SettingsDialog } from "./SettingsDialog";

export const SettingsButton: FC<{ devices: Devices }> = ({ devices }) => {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <IconButton label={t("settings.title")} icon="settings" onPress={() => setOpen(true)} />
      {isOpen && <SettingsDialog devices={devices} isOpen onClose={() => setOpen(false)} />}
    </>
  );
};
