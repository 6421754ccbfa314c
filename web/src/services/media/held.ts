import type { MediaPerson } from "./types";

/** While a connection comes back, who is not there yet stands as they were. */
export function held(
  before: ReadonlyMap<string, MediaPerson>,
  now: ReadonlyMap<string, MediaPerson>,
  me: string,
): ReadonlyMap<string, MediaPerson> {
  const all = new Map(now);
  for (const [id, old] of calm(before)) {
    if (id === me) continue;
    const person = now.get(id);
    all.set(
      id,
      person
        ? {
            ...person,
            microphone: person.microphone ?? old.microphone,
            camera: person.camera ?? old.camera,
            screen: person.screen ?? old.screen,
          }
        : old,
    );
  }
  return all;
}

/** Nobody is known to speak where nothing is heard. */
export function calm(people: ReadonlyMap<string, MediaPerson>): ReadonlyMap<string, MediaPerson> {
  return new Map([...people].map(([id, person]) => [id, { ...person, speaking: false, level: 0 }]));
}
