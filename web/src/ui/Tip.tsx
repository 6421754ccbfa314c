import type { FC, ReactElement } from "react";
import { Tooltip, TooltipTrigger } from "react-aria-components";
import styles from "./Tip.module.css";

/** Says on hover and focus what a control is, and its key. The control itself is named without it. */
export const Tip: FC<{ text: string; keys?: string | undefined; children: ReactElement }> = ({
  text,
  keys,
  children,
}) => (
  <TooltipTrigger delay={500} closeDelay={0}>
    {children}
    <Tooltip className={styles.tip ?? ""} offset={8}>
      {text}
      {keys && <kbd>{keys}</kbd>}
    </Tooltip>
  </TooltipTrigger>
);
