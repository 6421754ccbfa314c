import { type FC, useCallback, useEffect, useState } from "react";
import { prefer, preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { Chat } from "../../meeting/chat";
import type { Meeting } from "../../meeting/meeting";
import type { People } from "../../meeting/people";
import { type Capacity, View } from "../../meeting/view";
import type { Devices } from "../../services/devices/types";
import { useArrival } from "../../ui/useArrival";
import { useStore } from "../../ui/useStore";
import { ControlBar } from "../controls/ControlBar";
import { Notices } from "../notices/Notices";
import { useShortcuts } from "../shortcuts/useShortcuts";
import { Stage } from "../stage/Stage";
import { Clock } from "./Clock";
import { PANELS, PanelPlace } from "./PanelPlace";
import styles from "./RoomScreen.module.css";
import { TroubleBanner } from "./TroubleBanner";
import { useFocusReturn } from "./useFocusReturn";
import { useLasting } from "./useLasting";

const PHONE = "(width < 600px), (height < 480px)";
const PHONE_CAPACITY: Capacity = { tiles: 4, strip: 3 };

interface RoomScreenProps {
  meeting: Meeting;
  people: People;
  devices: Devices;
  invitation: string | null;
}

export const RoomScreen: FC<RoomScreenProps> = ({ meeting, people, devices, invitation }) => {
  const [view] = useState(() => new View(meeting, capacityNow()));
  useEffect(() => () => view.close(), [view]);
  useCapacity(view);
  usePreferredDevices(meeting);
  usePanelsAtHand();
  const [isHelp, setHelp] = useState(false);
  const openHelp = useCallback(() => setHelp(true), []);
  useShortcuts(meeting, view, openHelp);
  const panel = useStore(view.panel);
  const room = useStore(meeting.room);
  const isFrozen = useLasting(useStore(meeting.trouble).media);
  const chat = useStore(meeting.chat);
  const heading = useArrival<HTMLHeadingElement>();
  useFocusReturn(view, heading);
  const title = room?.title ?? "";
  usePageTitle(title, chat);

  return (
    <div className={styles.room} data-panel={panel ?? "none"}>
      <main className={styles.main} data-scheme="dark" data-trouble={isFrozen}>
        <header className={styles.top}>
          <h1 ref={heading} tabIndex={-1} className={styles.title}>
            {title}
          </h1>
          {room?.startedAt && <Clock since={room.startedAt} minutes={room.durationMinutes} />}
        </header>
        <Stage meeting={meeting} view={view} invitation={invitation} />
        <TroubleBanner meeting={meeting} view={view} />
        <Notices meeting={meeting} view={view} />
      </main>
      {panel === "chat" && chat && (
        <PanelPlace key="chat" name="chat" onClose={() => view.panel.set(null)}>
          {({ ChatPanel }) => <ChatPanel meeting={meeting} chat={chat} people={people} view={view} />}
        </PanelPlace>
      )}
      {panel === "people" && (
        <PanelPlace key="people" name="people" onClose={() => view.panel.set(null)}>
          {({ PeoplePanel }) => (
            <PeoplePanel meeting={meeting} people={people} view={view} invitation={invitation} />
          )}
        </PanelPlace>
      )}
      <footer className={styles.controls} data-scheme="dark">
        <ControlBar
          meeting={meeting}
          view={view}
          devices={devices}
          sheet={{ isOpen: isHelp, setOpen: setHelp }}
        />
      </footer>
    </div>
  );
};

/** Who looks at another tab sees there which meeting this is, and that somebody has written. */
function usePageTitle(title: string, chat: Chat | null): void {
  useEffect(() => {
    const before = document.title;
    const show = () => {
      const count = chat?.unread.get() ?? 0;
      document.title = t(count > 0 ? "room.pageTitleUnread" : "room.pageTitle", { title, count });
    };
    show();
    const stop = chat?.unread.subscribe(show);
    return () => {
      stop?.();
      document.title = before;
    };
  }, [title, chat]);
}

/** Loads what the person will open, as long as it can be loaded. */
function usePanelsAtHand(): void {
  useEffect(() => {
    for (const load of Object.values(PANELS)) load().catch(() => undefined);
  }, []);
}

function capacityNow(): Capacity {
  if (matchMedia(PHONE).matches) return PHONE_CAPACITY;
  const { tiles } = preferences.get();
  return { tiles, strip: 5 };
}

function useCapacity(view: View): void {
  useEffect(() => {
    const query = matchMedia(PHONE);
    const update = () => view.capacity.set(capacityNow());
    query.addEventListener("change", update);
    const stop = preferences.subscribe(update);
    return () => {
      query.removeEventListener("change", update);
      stop();
    };
  }, [view]);
}

/** A device or quality that is chosen anywhere is used in the meeting at once. One that does not work is not kept. */
function usePreferredDevices(meeting: Meeting): void {
  useEffect(() => {
    let before = preferences.get();
    return preferences.subscribe(() => {
      const now = preferences.get();
      const last = before;
      before = now;
      const changed = (["microphone", "camera", "speaker"] as const).filter(
        (kind) => now[kind] !== last[kind],
      );
      if (changed.length > 0) {
        const chosen = Object.fromEntries(changed.map((kind) => [kind, now[kind]]));
        void meeting.choose(chosen).then((works) => {
          if (!works) prefer(Object.fromEntries(changed.map((kind) => [kind, last[kind]])));
        });
      }
      if (now.quality !== last.quality) void meeting.media.setQuality(now.quality).catch(() => undefined);
    });
  }, [meeting]);
}
