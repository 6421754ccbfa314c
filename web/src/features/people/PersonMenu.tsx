import { type FC, useState } from "react";
import { t } from "../../i18n";
import { lockKey } from "../../meeting/hosting";
import type { Meeting } from "../../meeting/meeting";
import type { Person } from "../../meeting/people";
import type { Lock } from "../../meeting/types";
import type { View } from "../../meeting/view";
import type { VideoSource } from "../../services/media/types";
import { IconButton } from "../../ui/Button";
import { Question } from "../../ui/Dialog";
import { Menu, MenuItem, MenuLine } from "../../ui/Menu";
import { useStore } from "../../ui/useStore";
import { act } from "./act";
import { VolumeDialog } from "./VolumeDialog";

interface PersonMenuProps {
  person: Person;
  /** On a tile: which picture. */
  source?: VideoSource;
  meeting: Meeting;
  view: View;
}

const LOCKS = ["microphone", "camera", "screen", "chat"] as const satisfies readonly Lock[];

export const PersonMenu: FC<PersonMenuProps> = ({ person, source = "camera", meeting, view }) => {
  const rights = useStore(meeting.rights);
  const pin = useStore(view.pin);
  const [asking, setAsking] = useState<"remove" | "block" | "volume" | null>(null);
  const isPinned = pin?.id === person.id && pin.source === source;
  const { host } = meeting;
  const label = t("person.options", { name: person.name });
  const isOther = !person.isMe;
  return (
    <>
      <Menu label={label} trigger={<IconButton label={label} icon="more" size="small" />}>
        <MenuItem icon="pin" onAction={() => view.togglePin({ id: person.id, source })}>
          {t(isPinned ? "person.unpin" : "person.pin")}
        </MenuItem>
        {isOther && (
          <MenuItem icon="speaker" onAction={() => setAsking("volume")}>
            {t("person.volume")}
          </MenuItem>
        )}
        {isOther && rights.privateChat && (
          <MenuItem icon="chat" onAction={() => view.openChatWith(person.id)}>
            {t("person.message")}
          </MenuItem>
        )}
        {rights.host && isOther && (
          <>
            <MenuLine />
            {person.microphone === "on" && (
              <MenuItem
                icon="microphoneOff"
                onAction={() => act(view, host.mute(person.id, person.microphoneSid))}
              >
                {t("person.mute")}
              </MenuItem>
            )}
            {person.camera && (
              <MenuItem icon="cameraOff" onAction={() => act(view, host.mute(person.id, person.cameraSid))}>
                {t("person.stopCamera")}
              </MenuItem>
            )}
            {person.handRaisedAt !== null && (
              <MenuItem icon="hand" onAction={() => meeting.lowerHandOf(person.id)}>
                {t("person.lowerHand")}
              </MenuItem>
            )}
            {!person.isPresenter && (
              <MenuItem icon="star" onAction={() => act(view, host.makePresenter(person.id))}>
                {t("person.makePresenter")}
              </MenuItem>
            )}
          </>
        )}
        {rights.host && isOther && !person.isHost && (
          <>
            <MenuLine />
            {LOCKS.map((lock) => {
              const isLocked = host.wishes.get().get(lockKey(person.id, lock)) ?? person.locks[lock];
              return (
                <MenuItem
                  key={lock}
                  icon="lock"
                  onAction={() => act(view, host.setLock(person.id, lock, !isLocked))}
                >
                  {t(isLocked ? `person.unlock.${lock}` : `person.lock.${lock}`)}
                </MenuItem>
              );
            })}
            <MenuLine />
            <MenuItem icon="remove" tone="danger" onAction={() => setAsking("remove")}>
              {t("person.remove")}
            </MenuItem>
            <MenuItem icon="block" tone="danger" onAction={() => setAsking("block")}>
              {t("person.block")}
            </MenuItem>
          </>
        )}
      </Menu>
      {asking === "volume" && (
        <VolumeDialog person={person} meeting={meeting} onClose={() => setAsking(null)} />
      )}
      {(asking === "remove" || asking === "block") && (
        <Question
          title={t(asking === "block" ? "person.blockTitle" : "person.removeTitle", { name: person.name })}
          text={t(asking === "block" ? "person.blockText" : "person.removeText")}
          action={t(asking === "block" ? "person.block" : "person.remove")}
          isOpen
          onClose={() => setAsking(null)}
          onConfirm={() => act(view, host.remove(person.id, asking === "block"))}
        />
      )}
    </>
  );
};
