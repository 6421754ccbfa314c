import type { Room, User } from "./types";

/** What this participant may do now. The server holds it too; here it decides what is offered. */
export interface Rights {
  readonly host: boolean;
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly screen: boolean;
  readonly chat: boolean;
  readonly privateChat: boolean;
  readonly raiseHand: boolean;
  readonly seeOthers: boolean;
  /** Of those who are no hosts and do not present. */
  readonly seeCameras: boolean;
}

export const NO_RIGHTS: Rights = {
  host: false,
  microphone: false,
  camera: false,
  screen: false,
  chat: false,
  privateChat: false,
  raiseHand: false,
  seeOthers: false,
  seeCameras: false,
};

export function rightsOf(room: Room | undefined, me: User | undefined): Rights {
  if (!room || !me || me.waiting) return NO_RIGHTS;
  const { features } = room;
  const free = (locked: boolean) => me.isHost || !locked;
  const chat = features.chat && free(me.locks.chat);
  return {
    host: me.isHost,
    microphone: free(me.locks.microphone),
    camera: features.camera && free(me.locks.camera || features.hostCameraOnly),
    screen: features.screen && free(me.locks.screen),
    chat,
    privateChat: chat && free(me.locks.privateChat),
    raiseHand: features.raiseHand,
    seeOthers: me.isHost || features.seeOthersList,
    seeCameras: me.isHost || features.seeOthersCamera,
  };
}
