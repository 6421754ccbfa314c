import type { FC } from "react";
import { t } from "../../i18n";
import type { Meeting } from "../../meeting/meeting";
import { bestFit, type Stage as StageState, type Tile as TileState } from "../../meeting/stage";
import type { View } from "../../meeting/view";
import { IconButton } from "../../ui/Button";
import { useStore } from "../../ui/useStore";
import { CopyInvitation } from "../invitation/CopyInvitation";
import styles from "./Stage.module.css";
import { Tile } from "./Tile";
import { useSize } from "./useSize";

const GAP = 8;

interface StageProps {
  meeting: Meeting;
  view: View;
  /** The path of the link for guests, where it is known. */
  invitation: string | null;
}

export const Stage: FC<StageProps> = ({ meeting, view, invitation }) => {
  const stage = useStore(view.stage);
  const inside = useStore(view.people);
  const [ref, size] = useSize<HTMLDivElement>();
  const byId = new Map(inside.map((person) => [person.id, person]));
  const draw = (tile: TileState) => {
    const person = byId.get(tile.id);
    return person && <Tile key={tile.key} tile={tile} person={person} meeting={meeting} view={view} />;
  };
  return (
    <div className={styles.stage} data-layout={stage?.layout ?? "none"}>
      <div ref={ref} className={styles.area}>
        {stage && size.width > 0 && (
          <Arrangement stage={stage} width={size.width} height={size.height} draw={draw} />
        )}
        {stage?.layout === "alone" && (
          <div className={styles.alone}>
            <p>{t("stage.alone")}</p>
            {invitation && <CopyInvitation path={invitation} />}
          </div>
        )}
      </div>
      {stage && "pages" in stage && stage.pages > 1 && (
        <nav className={styles.pages} aria-label={t("stage.pages")}>
          <IconButton
            label={t("stage.previous")}
            icon="back"
            size="small"
            isDisabled={stage.page === 0}
            onPress={() => view.turn(-1)}
          />
          <span aria-live="polite">{t("stage.page", { page: stage.page + 1, pages: stage.pages })}</span>
          <IconButton
            label={t("stage.next")}
            icon="forward"
            size="small"
            isDisabled={stage.page === stage.pages - 1}
            onPress={() => view.turn(1)}
          />
        </nav>
      )}
    </div>
  );
};

interface ArrangementProps {
  stage: StageState;
  width: number;
  height: number;
  draw: (tile: TileState) => React.ReactNode;
}

const Arrangement: FC<ArrangementProps> = ({ stage, width, height, draw }) => {
  if ("tiles" in stage) {
    const fit = bestFit(stage.tiles.length, width, height, GAP);
    return (
      <div className={styles.grid} style={{ inlineSize: fit.columns * (fit.width + GAP) - GAP }}>
        {stage.tiles.map((tile) => (
          <div
            key={tile.key}
            className={styles.cell}
            style={{ inlineSize: fit.width, blockSize: fit.height }}
          >
            {draw(tile)}
          </div>
        ))}
      </div>
    );
  }
  // The strip lies where the large picture loses least.
  const isWide = width > height * 1.15;
  const strip = stripSize(stage.strip.length, width, height, isWide);
  return (
    <div className={styles.focus} data-wide={isWide}>
      <div className={styles.large}>{draw(stage.main)}</div>
      <div className={styles.strip}>
        {stage.strip.map((tile) => (
          <div
            key={tile.key}
            className={styles.cell}
            style={{ inlineSize: strip.width, blockSize: strip.height }}
          >
            {draw(tile)}
          </div>
        ))}
      </div>
    </div>
  );
};

function stripSize(count: number, width: number, height: number, isWide: boolean) {
  const across = isWide ? height : width;
  const each = (across - GAP * (count - 1)) / Math.max(1, count);
  if (isWide) {
    const tileWidth = Math.min(width * 0.2, 280, (each * 16) / 9);
    return { width: Math.floor(tileWidth), height: Math.floor((tileWidth * 9) / 16) };
  }
  const tileWidth = Math.min(each, width * 0.46);
  return { width: Math.floor(tileWidth), height: Math.floor(Math.min(tileWidth * 0.75, height * 0.24)) };
}
