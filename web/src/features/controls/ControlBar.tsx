import { type FC, useState } from "react";
import { Button as AriaButton, Toolbar } from "react-aria-components";
import { prefer, preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import type { View } from "../../meeting/view";
import type { Devices } from "../../services/devices/types";
import { Question } from "../../ui/Dialog";
import { Icon } from "../../ui/Icon";
import { Menu, MenuItem, MenuLine } from "../../ui/Menu";
import { useMedia } from "../../ui/useMedia";
import { useStore } from "../../ui/useStore";
import { act } from "../people/act";
import { SettingsDialog } from "../settings/SettingsDialog";
import { ShortcutSheet } from "../shortcuts/ShortcutSheet";
import { BarToggle } from "./BarToggle";
import styles from "./ControlBar.module.css";
import { DeviceArrow } from "./DeviceArrow";

interface ControlBarProps {
  meeting: Meeting;
  view: View;
  devices: Devices;
  sheet: { isOpen: boolean; setOpen: (open: boolean) => void };
}

const CAN_SHARE = typeof navigator.mediaDevices?.getDisplayMedia === "function";

export const ControlBar: FC<ControlBarProps> = ({ meeting, view, devices, sheet }) => {
  const own = useStore(meeting.media.own);
  const rights = useStore(meeting.rights);
  const hand = useStore(meeting.hand);
  const panel = useStore(view.panel);
  const chat = useStore(meeting.chat);
  return (
    <Toolbar className={styles.bar ?? ""} aria-label={t("control.bar")} data-scheme="dark">
      <span className={styles.pair}>
        <BarToggle
          label={t("control.microphone")}
          tip={
            rights.microphone
              ? t(own.microphone === "on" ? "control.microphoneOff" : "control.microphoneOn")
              : t("control.locked")
          }
          keys="M"
          icon={own.microphone === "on" ? "microphone" : "microphoneOff"}
          isSelected={own.microphone === "on"}
          isBusy={own.microphone === "starting"}
          isLocked={!rights.microphone}
          tone="device"
          onChange={() => meeting.toggle("microphone")}
        />
        <DeviceArrow label={t("device.chooseAudio")} kinds={["microphone", "speaker"]} devices={devices} />
      </span>
      <span className={styles.pair}>
        <BarToggle
          label={t("control.camera")}
          tip={
            rights.camera
              ? t(own.camera === "on" ? "control.cameraOff" : "control.cameraOn")
              : t("control.locked")
          }
          keys="V"
          icon={own.camera === "on" ? "camera" : "cameraOff"}
          isSelected={own.camera === "on"}
          isBusy={own.camera === "starting"}
          isLocked={!rights.camera}
          tone="device"
          onChange={() => meeting.toggle("camera")}
        />
        <DeviceArrow label={t("device.chooseVideo")} kinds={["camera"]} devices={devices} />
      </span>
      {CAN_SHARE && (
        <span className={styles.wideOnly}>
          <BarToggle
            label={t("control.screen")}
            tip={
              rights.screen
                ? t(own.screen === "on" ? "control.screenOff" : "control.screenOn")
                : t("control.locked")
            }
            keys="S"
            icon={own.screen === "on" ? "screenOff" : "screen"}
            isSelected={own.screen === "on"}
            isBusy={own.screen === "starting"}
            isLocked={!rights.screen}
            tone="active"
            onChange={() => meeting.toggle("screen")}
          />
        </span>
      )}
      {rights.raiseHand && (
        <BarToggle
          label={t("control.hand")}
          tip={t(hand ? "control.handDown" : "control.handUp")}
          keys="H"
          icon="hand"
          isSelected={hand}
          tone="hand"
          onChange={(up) => meeting.raiseHand(up)}
        />
      )}
      <span className={styles.gap} />
      {chat && <ChatToggle meeting={meeting} view={view} isOpen={panel === "chat"} />}
      <PeopleToggle meeting={meeting} view={view} isOpen={panel === "people"} />
      <More meeting={meeting} view={view} devices={devices} sheet={sheet} />
      <AriaButton
        className={styles.leave ?? ""}
        onPress={() => meeting.leave()}
        aria-label={t("control.leave")}
      >
        <Icon name="leave" size={24} />
        <span className={styles.leaveText}>{t("control.leave")}</span>
      </AriaButton>
    </Toolbar>
  );
};

const ChatToggle: FC<{ meeting: Meeting; view: View; isOpen: boolean }> = ({ meeting, view, isOpen }) => {
  const chat = useStore(meeting.chat);
  if (!chat) return null;
  return <ChatToggleOf chat={chat} view={view} isOpen={isOpen} />;
};

const ChatToggleOf: FC<{
  chat: NonNullable<ReturnType<Meeting["chat"]["get"]>>;
  view: View;
  isOpen: boolean;
}> = ({ chat, view, isOpen }) => {
  const unread = useStore(chat.unread);
  return (
    <BarToggle
      label={t("control.chat")}
      tip={t(isOpen ? "control.chatClose" : "control.chatOpen")}
      keys="C"
      icon="chat"
      isSelected={isOpen}
      tone="panel"
      badge={
        unread > 0
          ? { text: unread > 99 ? "99+" : String(unread), label: t("chat.unread", { count: unread }) }
          : undefined
      }
      onChange={() => view.toggle("chat")}
    />
  );
};

const PeopleToggle: FC<{ meeting: Meeting; view: View; isOpen: boolean }> = ({ meeting, view, isOpen }) => {
  const people = meeting.people.get();
  if (!people) throw new Error("inside a meeting there are people");
  const inside = useStore(people.inside);
  const waiting = useStore(people.waiting);
  const { host } = useStore(meeting.rights);
  const knocking = host ? waiting.length : 0;
  return (
    <BarToggle
      label={t("control.people")}
      tip={t(isOpen ? "control.peopleClose" : "control.peopleOpen")}
      keys="P"
      icon="people"
      isSelected={isOpen}
      tone="panel"
      count={inside.length}
      badge={
        knocking > 0 ? { text: String(knocking), label: t("people.waiting", { count: knocking }) } : undefined
      }
      onChange={() => view.toggle("people")}
    />
  );
};

const More: FC<ControlBarProps> = ({ meeting, view, devices, sheet }) => {
  const [isSettings, setSettings] = useState(false);
  const [isEnding, setEnding] = useState(false);
  const mode = useStore(view.mode);
  const own = useStore(meeting.media.own);
  const rights = useStore(meeting.rights);
  const { theme } = useStore(preferences);
  const isNarrow = useMedia("(width < 600px)");
  const isDark =
    theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  return (
    <>
      <Menu
        label={t("control.more")}
        placement="top end"
        trigger={
          <AriaButton className={styles.more ?? ""} aria-label={t("control.more")}>
            <Icon name="more" size={24} />
            <span className={styles.text}>{t("control.more")}</span>
          </AriaButton>
        }
      >
        {CAN_SHARE && rights.screen && isNarrow && (
          <MenuItem
            icon={own.screen === "on" ? "screenOff" : "screen"}
            onAction={() => meeting.toggle("screen")}
          >
            {t(own.screen === "on" ? "control.screenOff" : "control.screenOn")}
          </MenuItem>
        )}
        <MenuItem icon={mode === "auto" ? "spotlight" : "grid"} onAction={() => view.toggleMode()}>
          {t(mode === "auto" ? "stage.toSpeaker" : "stage.toGrid")}
        </MenuItem>
        <MenuItem icon="settings" onAction={() => setSettings(true)}>
          {t("settings.title")}
        </MenuItem>
        <MenuItem
          icon={isDark ? "sun" : "moon"}
          onAction={() => prefer({ theme: isDark ? "light" : "dark" })}
        >
          {t(isDark ? "settings.toLight" : "settings.toDark")}
        </MenuItem>
        <MenuItem icon="keyboard" onAction={() => sheet.setOpen(true)}>
          {t("shortcut.title")}
        </MenuItem>
        {rights.host && (
          <>
            <MenuLine />
            <MenuItem icon="end" tone="danger" onAction={() => setEnding(true)}>
              {t("end.action")}
            </MenuItem>
          </>
        )}
      </Menu>
      {isSettings && <SettingsDialog devices={devices} isOpen onClose={() => setSettings(false)} />}
      {sheet.isOpen && <ShortcutSheet onClose={() => sheet.setOpen(false)} />}
      <Question
        title={t("end.title")}
        text={t("end.text")}
        action={t("end.action")}
        isOpen={isEnding}
        onClose={() => setEnding(false)}
        onConfirm={() => act(view, meeting.host.endForEveryone())}
      />
    </>
  );
};
