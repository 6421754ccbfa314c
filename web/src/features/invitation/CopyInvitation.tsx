import { type FC, useEffect, useState } from "react";
import { t } from "../../i18n";
import { Button } from "../../ui/Button";
import { copyText } from "../../ui/copy";

/** How long it says that it has done what it was asked. */
const COPIED_MS = 2_000;

/** Copies the link that guests open. */
export const CopyInvitation: FC<{ path: string; wide?: boolean }> = ({ path, wide = false }) => {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  useEffect(() => {
    if (state !== "copied") return;
    const timer = setTimeout(() => setState("idle"), COPIED_MS);
    return () => clearTimeout(timer);
  }, [state]);
  const link = new URL(path, location.origin).href;
  // The person copies it.
  if (state === "failed") return <output>{link}</output>;
  return (
    <Button
      wide={wide}
      icon={state === "copied" ? "check" : "link"}
      onPress={() => void copyText(link).then((isCopied) => setState(isCopied ? "copied" : "failed"))}
    >
      <span aria-live="polite">{state === "copied" ? t("invitation.copied") : t("invitation.copy")}</span>
    </Button>
  );
};
