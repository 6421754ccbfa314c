import type { FC } from "react";
import type { Entry, Flow } from "../../app/flow";
import type { Meeting } from "../../meeting/meeting";
import { useStore } from "../../ui/useStore";
import { Over } from "../over/Over";
import { Connecting } from "./Connecting";
import { RoomScreen } from "./RoomScreen";
import { Waiting } from "./Waiting";

export const MeetingScreen: FC<{ flow: Flow; entry: Entry; meeting: Meeting }> = ({
  flow,
  entry,
  meeting,
}) => {
  const phase = useStore(meeting.phase);
  const people = useStore(meeting.people);
  switch (phase.name) {
    case "connecting":
      return <Connecting step={phase.step} since={phase.since} onCancel={() => meeting.leave()} />;
    case "waiting":
      return <Waiting title={phase.title} meeting={meeting} onLeave={() => meeting.leave()} />;
    case "inside":
      return (
        people && (
          <RoomScreen
            meeting={meeting}
            people={people}
            devices={flow.services.devices}
            invitation={entry.kind === "invitation" ? `/m/${entry.code}` : null}
          />
        )
      );
    case "over":
      return (
        <Over
          reason={phase.reason}
          detail={phase.detail}
          onAgain={() => flow.again(entry)}
          onStart={() => flow.go("/")}
        />
      );
  }
};
