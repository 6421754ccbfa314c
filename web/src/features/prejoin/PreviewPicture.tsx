import { type FC, useEffect, useRef } from "react";
import { preferences } from "../../app/preferences";
import { t } from "../../i18n";
import type { InputState, Preview } from "../../meeting/preview";
import { useStore } from "../../ui/useStore";
import { InputSwitches } from "../devices/InputSwitches";
import styles from "./PreviewPicture.module.css";

export const PreviewPicture: FC<{ preview: Preview }> = ({ preview }) => {
  const camera = useStore(preview.inputs.camera);
  const microphone = useStore(preview.inputs.microphone);
  return (
    <div className={styles.frame} data-scheme="dark">
      {camera.name === "on" ? (
        <Picture track={camera.track} />
      ) : (
        <p className={styles.none}>{words(camera)}</p>
      )}
      <div className={styles.switches}>
        <InputSwitches
          states={{ microphone: microphone.name, camera: camera.name }}
          onToggle={(kind) => preview.toggle(kind)}
        />
      </div>
    </div>
  );
};

const Picture: FC<{ track: MediaStreamTrack }> = ({ track }) => {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    return () => {
      element.srcObject = null;
    };
  }, [track]);
  return (
    <video
      ref={video}
      className={styles.video}
      autoPlay
      muted
      playsInline
      aria-label={t("prejoin.ownPicture")}
    />
  );
};

function words(camera: InputState): string {
  if (camera.name === "starting")
    return t(preferences.get().name ? "prejoin.cameraStarting" : "prejoin.cameraAsking");
  return t(camera.name === "trouble" ? "prejoin.cameraTrouble" : "prejoin.cameraOff");
}
